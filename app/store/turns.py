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
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    DateTime,
    Interval,
    Select,
    Subquery,
    bindparam,
    case,
    false,
    func,
    or_,
    select,
    true,
    update,
)

from app.domain.shard import LOSSES_BEFORE_HALVING, URGENT, ShardState
from app.store.accounts import tenant_shares
from app.store.batches import may_run
from app.store.columns import faded
from app.store.tables import batches, shards
from app.store.tenants import hold_of, weight_of
from app.store.usage import HALF_LIFE_S

ASSUMED_S = 1.0
"""Device-seconds of a request, before any was measured."""


def _unanswered() -> ColumnElement[int]:
    return shards.c.requests - shards.c.completed - shards.c.failed


NOW: ColumnElement[datetime] = bindparam("now", type_=DateTime(timezone=True))
waits_here = (
    may_run,
    batches.c.model == bindparam("model"),
    shards.c.state == ShardState.PENDING,
    shards.c.zone == bindparam("place"),
    shards.c.release_at <= NOW,
    hold_of(shards.c.tenant_id).is_(None),
)
"""Of a shard that waits in a zone, for a model. Statements are built once, as workers ask for every shard; whoever
executes one gives `now`, `model` and `place`."""

urgent: ColumnElement[datetime] = case((shards.c.start_by <= NOW + URGENT, shards.c.start_by))
"""The latest start of a shard that should not wait any more; null for others."""

in_tenant: Sequence[ColumnElement[Any]] = (
    urgent.asc().nulls_last(),
    batches.c.priority.desc(),
    shards.c.first_line,
    shards.c.created_at,
    shards.c.batch_id,
)
"""In which order the shards of one tenant run: urgent ones by their latest start, then those of more important batches,
and among equals batch by batch in turn."""


def _line() -> Subquery:
    # In their order, requests of the same tenant that go before.
    ahead = func.sum(_unanswered()).over(partition_by=shards.c.tenant_id, order_by=in_tenant, rows=(None, -1))
    waiting = (
        select(shards.c.id, shards.c.tenant_id, func.coalesce(ahead, 0).label("ahead"))
        .join(batches, batches.c.id == shards.c.batch_id)
        .where(*waits_here)
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
    device_s = func.coalesce(used.c.device_s * faded(used.c.as_of, NOW, HALF_LIFE_S), 0.0) + each_s * in_hand
    return (
        select(waiting.c.id, waiting.c.tenant_id, (device_s / weight_of(waiting.c.tenant_id)).label("tag"))
        .outerjoin(used, used.c.tenant_id == waiting.c.tenant_id)
        .outerjoin(runs, runs.c.tenant_id == waiting.c.tenant_id)
        .subquery()
    )


def _mean(device_s: ColumnElement[float], requests: ColumnElement[float]) -> ColumnElement[float]:
    """Of a request; null where nothing is known."""
    return func.nullif(device_s / func.nullif(requests, 0), 0)


line = _line()
"""The released shards of a zone and a model that wait, of tenants that are not held: `id`, `tenant_id`, and `tag`, by
which they go."""


def _instead_of() -> Select[str, bool]:
    own = select(shards.c.tenant_id).where(shards.c.id == bindparam("shard_id")).scalar_subquery()
    is_own = func.coalesce(line.c.tenant_id == own, false())
    return select(line.c.id, is_own).order_by(line.c.tag, is_own.desc()).limit(1)


_INSTEAD_OF = _instead_of()


def instead_of(connection: Connection, shard_id: str, *, place: str, model: str, now: datetime) -> str | None:
    """The shard of another tenant whose turn it is, before this one's; None if it is its own tenant's turn.

    The bell rang for a shard some time ago, and others may have come since.
    """
    given = {"shard_id": shard_id, "place": place, "model": model, "now": now}
    first = connection.execute(_INSTEAD_OF, given).first()
    return None if first is None or first[1] else str(first[0])


def _more_important() -> Select[str]:
    its, mine = batches.alias(), shards.alias()
    return (
        select(shards.c.id)
        .join(batches, batches.c.id == shards.c.batch_id)
        .join(mine, mine.c.id == bindparam("shard_id"))
        .join(its, its.c.id == mine.c.batch_id)
        .where(
            *waits_here,
            batches.c.tenant_id == its.c.tenant_id,
            batches.c.priority > its.c.priority,
            # A suspect runs alone in its worker, which the message of another one does not see to.
            shards.c.losses < LOSSES_BEFORE_HALVING,
            or_(mine.c.start_by.is_(None), mine.c.start_by > NOW + URGENT),
        )
        .order_by(*in_tenant)
        .limit(1)
        .with_for_update(of=shards, skip_locked=True)
    )


_MORE_IMPORTANT = _more_important()


def more_important(connection: Connection, shard_id: str, *, place: str, model: str, now: datetime) -> str | None:
    """The shard that should run in the place of this one: the first of the most important batch of its tenant that
    waits, if that is more important; locked for this transaction.

    Messages stand in the order in which they were sent, and those of all tenants in one queue. So a more important
    batch overtakes within its tenant, when one of that tenant's shards is about to be leased. What a deadline depends
    on is not overtaken.
    """
    given = {"shard_id": shard_id, "place": place, "model": model, "now": now}
    return connection.execute(_MORE_IMPORTANT, given).scalar()


class Waiting(NamedTuple):
    """A shard to ring for."""

    id: str
    urgent: bool
    """Whether it goes before all that stands in the queue: a deadline depends on it."""


def waiting(
    connection: Connection,
    *,
    place: str = "",
    model: str,
    limit: int,
    now: datetime,
    resend: timedelta | None,
    only_urgent: bool = False,
) -> Sequence[Waiting]:
    """Up to `limit` released shards of a zone and a model to ring for, in the order in which they should run; marks
    them sent.

    Tenants take turns by what they have used, and in each the shards whose latest start is near or has passed go first,
    then those of more important batches, and among equals by their lines, so that batches take turns: see the
    module. A shard that was sent is offered again after `resend`, None for at once: its message may be lost
    or wait behind others, and a duplicate does no harm.
    """
    given = {"place": place, "model": model, "now": now, "resend": resend, "most": limit}
    found = [Waiting(*row) for row in connection.execute(_TO_RING_FOR[only_urgent, resend is None], given)]
    connection.execute(update(shards).where(shards.c.id.in_([shard.id for shard in found])).values(sent_at=now))
    return found


def _to_ring_for(*, only_urgent: bool, resend_all: bool) -> Select[str, bool]:
    is_urgent = urgent.is_not(None)
    return (
        select(shards.c.id, is_urgent)
        .join(line, line.c.id == shards.c.id)
        .join(batches, batches.c.id == shards.c.batch_id)
        .where(
            # Asked again of the row that is locked: another may just have taken it.
            shards.c.state == ShardState.PENDING,
            is_urgent if only_urgent else true(),
            true() if resend_all else _unsent(NOW, bindparam("resend", type_=Interval)),
        )
        .order_by(line.c.tag, *in_tenant)
        .limit(bindparam("most"))
        .with_for_update(of=shards, skip_locked=True)
    )


def _unsent(now: ColumnElement[datetime], resend: ColumnElement[timedelta]) -> ColumnElement[bool]:
    # The last: the clock was set back since.
    return or_(shards.c.sent_at.is_(None), shards.c.sent_at < now - resend, shards.c.sent_at > now)


_TO_RING_FOR = {
    (only_urgent, resend_all): _to_ring_for(only_urgent=only_urgent, resend_all=resend_all)
    for only_urgent in (False, True)
    for resend_all in (False, True)
}
