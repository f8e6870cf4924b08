"""Running one shard: lease, generate, record."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import Connection

from app.domain.attribution import Use
from app.domain.completion import TIMED_OUT, Completion
from app.domain.errors import EngineFailed, EngineUnavailable, ServiceUnavailable
from app.domain.intensity import Basis, Origin
from app.ports import EnergyBasis, Engine
from app.services import caching, intensity
from app.services.accounting import Accountant
from app.services.context import Context
from app.services.dispatch import top_up
from app.services.isolation import Isolation
from app.services.leasing import LeasedShard, engine_request, lease, lease_copy, whose_turn
from app.services.pace import Hold, Pace
from app.services.reconciliation import end_if_answered
from app.store import recorded, requests, results, shards, sharing, turns, usage
from app.store.results import Result
from app.store.shards import Shard

log = logging.getLogger(__name__)

UNAVAILABLE_S = 10.0
"""A shard waits this long before a remote engine that could not be reached is tried again."""
GROUP_S = 5.0
"""Results are recorded, and the lease renewed, about this often; more often where leases are short."""
QUIET_S = 10.0
"""And while there is nothing to record the lease is renewed this often."""


@dataclass(frozen=True, kw_only=True)
class Worker:
    """What a generation worker owns."""

    name: str
    engine: Engine
    accountant: Accountant
    pace: Pace
    stopping: threading.Event = field(default_factory=threading.Event)
    """Set on shutdown: shards are given back instead of finished."""
    isolation: Isolation = field(default_factory=Isolation)
    evaluating: threading.Lock = field(default_factory=threading.Lock)
    """Held by the thread that runs a round of evaluation: one at a time."""


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
    """Answer what is unanswered in a shard, and what else is left while this worker has nothing to do; does nothing if
    the shard is not to be had.

    Raises:
        EngineFailed: the engine is gone. The shard counts as lost by it.
    """
    ended = _run(context, worker, shard_id)
    while ended and worker.pace.is_starved and not worker.stopping.is_set():
        # What waits may have been rung for elsewhere.
        waiting = _waiting(context)
        ended = _run(context, worker, waiting) if waiting else _run_copy(context, worker)


def _waiting(context: Context) -> str | None:
    place, model = context.settings.place, context.settings.served_name
    with context.database.transaction() as connection:
        found = turns.waiting(connection, place=place, model=model, limit=1, now=context.clock.now(), resend=None)
    return found[0].id if found else None


def _run(context: Context, worker: Worker, shard_id: str) -> bool:
    """Whether the shard was to be had and has ended."""
    alone, rung = False, shard_id
    while True:
        with worker.pace.hold(worker.stopping) as hold, worker.isolation.hold(alone=alone):
            if worker.stopping.is_set():
                with context.database.transaction() as connection:
                    shards.unsend(connection, [shard_id])
                return False
            # Asked only now: while it waited for its place others may have come, and a shard can become a suspect.
            if not alone:
                shard_id, alone = whose_turn(context, shard_id)
                if alone:
                    continue
            shard = lease(context, shard_id, owner=worker.name, limit=hold.limit, pace=worker.pace)
            if shard is None and shard_id != rung:
                # Another worker has taken the turn, too: the bell rings again for what it rang for here.
                top_up(context)
            return shard is not None and _generate(context, worker, shard, hold)


def _run_copy(context: Context, worker: Worker) -> bool:
    """Whether there was something to copy, and it has ended."""
    with worker.pace.hold(worker.stopping) as hold, worker.isolation.hold(alone=False):
        if worker.stopping.is_set():
            return False
        shard = lease_copy(context, owner=worker.name, pace=worker.pace)
        return shard is not None and _generate(context, worker, shard, hold)


def _generate(context: Context, worker: Worker, shard: LeasedShard, hold: Hold) -> bool:
    """Whether the shard has ended, rather than been given up."""
    shard = caching.looked_up(context, shard)
    hold.took(len(shard.drawn) - len(shard.known.answers))
    if shard.was_cut:
        top_up(context)
    worker.accountant.follow(shard.drawn)
    try:
        ended = _answer(context, worker, shard, hold)
        if ended:
            end_if_answered(context, shard.lease.shard.batch_id)
            top_up(context)
        return ended
    except EngineUnavailable as exc:
        log.warning("shard %s waits: %s", shard.lease.shard.id, exc.message)
        give_back(context, shard, delay_s=UNAVAILABLE_S)
        return False
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


class Standing(StrEnum):
    """Of a shard, after a group of results."""

    RUNNING = "running"
    ENDED = "ended"
    LOST = "lost"
    """The lease is another's, or nobody's: nothing was written."""


def _answer(context: Context, worker: Worker, shard: LeasedShard, hold: Hold) -> bool:
    """Generate and record until the shard has ended; False if it was given up before."""
    known = shard.known.answers
    inputs = [engine_request(context.settings, shard, key) for key in shard.drawn if key not in known]
    left = len(inputs)
    if known or not left:
        standing = record(context, worker, shard, list(known.values()), done=not left)
        if standing is not Standing.RUNNING:
            return standing is Standing.ENDED
    quarter_s = context.settings.lease_s / 4
    timeout_s, wait_s = context.settings.request_timeout_s, min(GROUP_S, quarter_s)
    renewed_at = time.monotonic()
    with closing(worker.engine.generate(inputs, timeout_s=timeout_s, wait_s=wait_s)) as groups:
        for group in groups:
            now = time.monotonic()
            if not group and not worker.stopping.is_set() and now - renewed_at + wait_s <= min(QUIET_S, quarter_s):
                continue
            renewed_at = now
            left -= len(group)
            standing = record(context, worker, shard, group, done=not left)
            hold.answered(len(group))
            if standing is not Standing.RUNNING:
                return standing is Standing.ENDED
            if worker.stopping.is_set():
                break
    give_back(context, shard)
    return False


def record(
    context: Context, worker: Worker, shard: LeasedShard, group: Sequence[Completion], *, done: bool = False
) -> Standing:
    """Write a group of results and renew the lease, or end it.

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
) -> Standing:
    settings, now = context.settings, context.clock.now()
    with context.database.transaction() as connection:
        held = shards.hold(connection, shard.lease)
        if held is None:
            return Standing.LOST
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
        new = [row for row in rows if row.line in written]
        failed = sum(row.status_code != 200 for row in new)
        caching.remember(connection, shard, new)
        done = done or (held.twin is not None and _is_answered(connection, shard.lease.shard))
        counts = {"completed": len(new) - failed, "failed": failed}
        shards.renew(connection, shard.lease, now=now, duration=settings.lease, done=done, **counts)
        if done and held.twin is not None:
            sharing.close_twin(connection, held.twin)
        tenant, batch_id = shard.lease.shard.tenant_id, shard.lease.shard.batch_id
        usage.add(connection, tenant, [row for row in new if not row.cached], now)
        recorded.add(connection, tenant=tenant, batch_id=batch_id, lines=[row.line for row in new])
    return Standing.ENDED if done else Standing.RUNNING


def _is_answered(connection: Connection, shard: Shard) -> bool:
    """Whether every line has a result, from whichever worker."""
    return not requests.unanswered(connection, shard.batch_id, shard.first_line, shard.last_line, 1)


def give_back(context: Context, shard: LeasedShard, *, delay_s: float = 0.0) -> None:
    """Return an unfinished shard at once, so that another worker need not wait for the lease to lapse."""
    release_at = context.clock.now() + timedelta(seconds=delay_s)
    with context.database.transaction() as connection:
        if shard.lease.shard.copy_of is None:
            shards.give_back(connection, shard.lease, release_at)
        elif shards.hold(connection, shard.lease):
            sharing.end_copy(connection, shard.lease.shard.id)


def _result(context: Context, shard: LeasedShard, completion: Completion, use: Use, price: Price) -> Result:
    drawn = shard.drawn[completion.key]
    unanswered = completion.unanswered
    footprint = context.hardware.price(
        energy_j=use.energy_j, device_s=use.device_s, intensity_g_per_kwh=price.intensity_g_per_kwh
    )
    return Result(
        batch_id=shard.lease.shard.batch_id,
        line=drawn.request.line,
        custom_id=drawn.request.custom_id,
        tenant_id=shard.lease.shard.tenant_id,
        workload=drawn.request.workload,
        status_code=None if unanswered else completion.status_code,
        error_code=TIMED_OUT if unanswered else None,
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
        body=unanswered or completion.body,
        cached=completion.key in shard.known.answers,
        **vars(price),
    )
