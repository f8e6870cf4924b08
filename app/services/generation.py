"""Running one shard: lease, generate, record."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from app.domain.attribution import Use
from app.domain.completion import Completion, EngineRequest
from app.domain.directive import L0, Placement, draw_level, place
from app.domain.errors import EngineFailed, EngineUnavailable, ServiceUnavailable
from app.domain.intensity import Basis, Origin
from app.domain.shard import is_suspect
from app.domain.workload import floor_of
from app.ports import EnergyBasis, Engine
from app.services import intensity
from app.services.accounting import Accountant
from app.services.context import Context
from app.services.dispatch import ring_for_shards
from app.services.isolation import Isolation
from app.services.reconciliation import end_if_answered
from app.settings import BUNDLED_MODEL, Settings
from app.store import mixes, requests, results, shards
from app.store.mixes import DirectiveMix
from app.store.requests import StoredRequest
from app.store.results import Result
from app.store.shards import Lease

log = logging.getLogger(__name__)

UNAVAILABLE_S = 10.0
"""A shard waits this long before a remote engine that could not be reached is tried again."""
GROUP_S = 1.0
"""Results are recorded, and the lease renewed, about this often."""


@dataclass(frozen=True, kw_only=True)
class Worker:
    """What a generation worker owns."""

    name: str
    engine: Engine
    accountant: Accountant
    stopping: threading.Event = field(default_factory=threading.Event)
    """Set on shutdown: shards are given back instead of finished."""
    isolation: Isolation = field(default_factory=Isolation)


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A request with its level."""

    request: StoredRequest
    level: int
    probability: float
    mix_id: str | None


@dataclass(frozen=True, kw_only=True)
class LeasedShard:
    lease: Lease
    drawn: Mapping[str, Drawn]
    """By the key under which the engine knows the request."""


@dataclass(frozen=True, kw_only=True)
class Price:
    """What a group of results was priced with."""

    energy_basis: EnergyBasis
    intensity_g_per_kwh: float
    intensity_basis: Basis
    intensity_origin: Origin
    pue: float
    finished_at: datetime


def run_shard(context: Context, worker: Worker, shard_id: str) -> None:
    """Answer what is unanswered in a shard; does nothing if it is not to be had.

    Raises:
        EngineFailed: the engine is gone. The shard counts as lost by it.
    """
    alone = False
    while True:
        with worker.isolation.hold(alone=alone):
            if worker.stopping.is_set():
                with context.database.transaction() as connection:
                    shards.unsend(connection, [shard_id])
                return
            # Asked only now: a shard can become a suspect while it waits for its place.
            if not alone and is_suspect(_losses(context, shard_id)):
                alone = True
                continue
            shard = lease(context, worker, shard_id)
            if shard is not None:
                _run(context, worker, shard)
            return


def _losses(context: Context, shard_id: str) -> int:
    with context.database.transaction() as connection:
        return shards.losses(connection, shard_id)


def _run(context: Context, worker: Worker, shard: LeasedShard) -> None:
    worker.accountant.settle()
    try:
        if _answer(context, worker, shard):
            end_if_answered(context, shard.lease.shard.batch_id)
            ring_for_shards(context)
    except EngineUnavailable as exc:
        log.warning("shard %s waits: %s", shard.lease.shard.id, exc.message)
        give_back(context, shard, delay_s=UNAVAILABLE_S)
    except EngineFailed:
        # Shards that wait for a place must not count as lost by an engine that was already gone.
        worker.stopping.set()
        _lapse(context, shard)
        raise
    finally:
        worker.accountant.settle()
        for key in shard.drawn:
            worker.accountant.charge(key)


def _lapse(context: Context, shard: LeasedShard) -> None:
    """Let the lease end now; without PostgreSQL it ends by itself."""
    try:
        with context.database.transaction() as connection:
            shards.lapse(connection, shard.lease, context.clock.now())
    except ServiceUnavailable as exc:
        log.warning("the lease of shard %s runs out by itself: %s", shard.lease.shard.id, exc.message)


def _answer(context: Context, worker: Worker, shard: LeasedShard) -> bool:
    """Generate and record until the shard is done; False if it was given up before."""
    inputs = [engine_request(context.settings, shard, key) for key in shard.drawn]
    timeout_s = context.settings.request_timeout_s
    with closing(worker.engine.generate(inputs, timeout_s=timeout_s, wait_s=GROUP_S)) as groups:
        for group in groups:
            if not record(context, worker, shard, group):
                return False
            if worker.stopping.is_set():
                give_back(context, shard)
                return False
    return record(context, worker, shard, (), done=True)


def lease(context: Context, worker: Worker, shard_id: str) -> LeasedShard | None:
    """Take the shard and draw a level for each request that has no result yet."""
    settings, now = context.settings, context.clock.now()
    with context.database.transaction() as connection:
        found = shards.lease(
            connection,
            shard_id,
            place=settings.place,
            model=settings.served_name,
            owner=worker.name,
            now=now,
            duration=settings.lease,
        )
        if found is None:
            return None
        shard = found.shard
        waiting = requests.unanswered(connection, shard.batch_id, shard.first_line, shard.last_line)
        known = mixes.current(connection, shard.tenant_id, settings.zone, settings.served_name)
    # Mixes from before SPROUT_DIRECTIVES was changed say nothing about the levels of now.
    current = {name: mix for name, mix in known.items() if len(mix.probabilities) == settings.levels}
    drawn = {
        f"{found.id}/{request.line}": _draw(request, shard.batch_id, current, settings.levels) for request in waiting
    }
    return LeasedShard(lease=found, drawn=drawn)


def _draw(request: StoredRequest, batch_id: str, current: Mapping[str, DirectiveMix], levels: int) -> Drawn:
    mix = current.get(request.workload)
    if request.pinned_level is not None or mix is None:
        # A level that the settings no longer have becomes the nearest one.
        level = min(request.pinned_level or L0, levels - 1)
        return Drawn(request=request, level=level, probability=1.0, mix_id=None)
    level = draw_level(mix.probabilities, request_key=f"{batch_id}/{request.custom_id}", mix_id=mix.id)
    return Drawn(request=request, level=level, probability=mix.probabilities[level], mix_id=mix.id)


def placement(settings: Settings) -> Placement:
    """Where this model obeys a directive: measured for the bundled model, the system message otherwise."""
    if settings.placement is not None:
        return settings.placement
    return Placement.USER if settings.model == BUNDLED_MODEL else Placement.SYSTEM


def engine_request(settings: Settings, shard: LeasedShard, key: str) -> EngineRequest:
    """The request with the directive of its level in place."""
    drawn = shard.drawn[key]
    texts = settings.workload_directives.get(floor_of(drawn.request.workload), settings.directives)
    body = place(drawn.request.body, texts[drawn.level], placement(settings))
    return EngineRequest(key=key, endpoint=shard.lease.endpoint, body=body)


def record(
    context: Context, worker: Worker, shard: LeasedShard, group: Sequence[Completion], *, done: bool = False
) -> bool:
    """Write a group of results and renew the lease, or end it; False if the lease is lost and nothing was written.

    Waits for a PostgreSQL that is away, as long as the lease would have lasted.
    """
    worker.accountant.settle(store=done)
    charged = [(completion, worker.accountant.charge(completion.key)) for completion in group]
    deadline = time.monotonic() + context.settings.lease_s
    while True:
        try:
            return _write(context, worker, shard, charged, done=done)
        except ServiceUnavailable as exc:
            if time.monotonic() > deadline or worker.stopping.wait(GROUP_S):
                raise
            log.warning("results of shard %s wait for PostgreSQL: %s", shard.lease.shard.id, exc)


def _write(
    context: Context, worker: Worker, shard: LeasedShard, charged: Sequence[tuple[Completion, Use]], *, done: bool
) -> bool:
    settings, now = context.settings, context.clock.now()
    with context.database.transaction() as connection:
        if not shards.hold(connection, shard.lease):
            return False
        figure = intensity.current(connection, settings, settings.zone, now)
        price = Price(
            energy_basis=worker.accountant.basis,
            intensity_g_per_kwh=figure.intensity_g_per_kwh,
            intensity_basis=figure.basis,
            intensity_origin=figure.origin,
            pue=settings.pue,
            finished_at=now,
        )
        rows = [_result(context, shard, completion, use, price) for completion, use in charged]
        written = results.record(connection, rows)
        failed = sum(row.status_code != 200 for row in rows if row.custom_id in written)
        shards.renew(
            connection,
            shard.lease,
            now=now,
            duration=settings.lease,
            completed=len(written) - failed,
            failed=failed,
            done=done,
        )
    return True


def give_back(context: Context, shard: LeasedShard, *, delay_s: float = 0.0) -> None:
    """Return an unfinished shard at once, so that another worker need not wait for the lease to lapse."""
    release_at = context.clock.now() + timedelta(seconds=delay_s)
    with context.database.transaction() as connection:
        shards.give_back(connection, shard.lease, release_at)


def _result(context: Context, shard: LeasedShard, completion: Completion, use: Use, price: Price) -> Result:
    drawn = shard.drawn[completion.key]
    footprint = context.hardware.price(
        energy_j=use.energy_j, device_s=use.device_s, intensity_g_per_kwh=price.intensity_g_per_kwh
    )
    return Result(
        batch_id=shard.lease.shard.batch_id,
        custom_id=drawn.request.custom_id,
        tenant_id=shard.lease.shard.tenant_id,
        workload=drawn.request.workload,
        status_code=completion.status_code,
        error_code=None,
        model=context.settings.served_name,
        level=drawn.level,
        probability=drawn.probability,
        mix_id=drawn.mix_id,
        prompt_tokens=completion.prompt_tokens,
        completion_tokens=completion.completion_tokens,
        energy_j=use.energy_j,
        device_s=use.device_s,
        zone=context.settings.zone,
        operational_g=footprint.operational_g,
        embodied_g=footprint.embodied_g,
        body=completion.body,
        **vars(price),
    )
