"""Whose turn it is: tenants share the devices by weight, and the batches of one tenant take turns.

This is start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996), a form of weighted fair queueing such as stride
scheduling (Waldspurger and Weihl, 1995): each shard has a start tag, the device-seconds that its tenant has used when
the shard's turn comes, divided by the tenant's weight; the least goes next. What was used fades with a half-life of
some minutes: whoever has used nothing for a while goes first, but cannot save up more than that. What runs now counts
by what a request of the tenant takes on average, so that a tenant whose first results are yet to come does not go on
taking turns.

Deadlines order the shards of one tenant only. Otherwise whoever declares short windows would starve the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Subquery,
    case,
    false,
    func,
    select,
)

from app.domain.batch import BatchStatus
from app.domain.shard import URGENT, ShardState
from app.store.accounts import tenant_shares
from app.store.columns import faded
from app.store.tables import batches, shards
from app.store.tenants import hold_of, weight_of
from app.store.usage import HALF_LIFE_S

ASSUMED_S = 1.0
"""Device-seconds of a request, before any was measured."""


def _unanswered() -> ColumnElement[int]:
    return shards.c.requests - shards.c.completed - shards.c.failed


def urgent(now: datetime) -> ColumnElement[datetime]:
    """The latest start of a shard that should not wait any more; null for others."""
    return case((shards.c.start_by <= now + URGENT, shards.c.start_by))


def in_tenant(now: datetime) -> Sequence[ColumnElement[Any]]:
    """In which order the shards of one tenant run: urgent ones by their latest start, then batch by batch in turn."""
    return urgent(now).asc().nulls_last(), shards.c.first_line, shards.c.created_at, shards.c.batch_id


def line(place: str, model: str, now: datetime) -> Subquery:
    """The released shards of a zone and a model that wait, of tenants that are not held: `id`, `tenant_id`, and
    `tag`, by which they go."""
    # In their order, requests of the same tenant that go before.
    ahead = func.coalesce(
        func.sum(_unanswered()).over(partition_by=shards.c.tenant_id, order_by=in_tenant(now), rows=(None, -1)), 0
    )
    waiting = (
        select(shards.c.id, shards.c.tenant_id, ahead.label("ahead"))
        .join(batches, batches.c.id == shards.c.batch_id)
        .where(
            batches.c.status == BatchStatus.IN_PROGRESS,
            batches.c.model == model,
            shards.c.state == ShardState.PENDING,
            shards.c.zone == place,
            shards.c.release_at <= now,
            hold_of(shards.c.tenant_id).is_(None),
        )
        .subquery()
    )
    runs = (
        select(shards.c.tenant_id, func.sum(_unanswered()).label("requests"))
        .where(shards.c.state == ShardState.LEASED, shards.c.copy_of.is_(None))
        .group_by(shards.c.tenant_id)
        .subquery()
    )
    used = tenant_shares
    everybody = select(_mean(func.sum(used.c.device_s), func.sum(used.c.requests))).scalar_subquery()
    each_s = func.coalesce(_mean(used.c.device_s, used.c.requests), everybody, ASSUMED_S)
    in_hand = func.coalesce(runs.c.requests, 0) + waiting.c.ahead
    device_s = func.coalesce(used.c.device_s * faded(used.c.as_of, now, HALF_LIFE_S), 0.0) + each_s * in_hand
    return (
        select(waiting.c.id, waiting.c.tenant_id, (device_s / weight_of(waiting.c.tenant_id)).label("tag"))
        .outerjoin(used, used.c.tenant_id == waiting.c.tenant_id)
        .outerjoin(runs, runs.c.tenant_id == waiting.c.tenant_id)
        .subquery()
    )


def _mean(device_s: ColumnElement[float], requests: ColumnElement[float]) -> ColumnElement[float]:
    """Of a request; null where nothing is known."""
    return func.nullif(device_s / func.nullif(requests, 0), 0)


def instead_of(connection: Connection, shard_id: str, *, place: str, model: str, now: datetime) -> str | None:
    """The shard of another tenant whose turn it is, before this one's; None if it is its own tenant's turn.

    The bell rang for a shard some time ago, and others may have come since.
    """
    waits = line(place, model, now)
    own = select(shards.c.tenant_id).where(shards.c.id == shard_id).scalar_subquery()
    is_own = func.coalesce(waits.c.tenant_id == own, false())
    query = select(waits.c.id, is_own).order_by(waits.c.tag, is_own.desc()).limit(1)
    first = connection.execute(query).first()
    return None if first is None or first[1] else str(first[0])
