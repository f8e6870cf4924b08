"""Sharing what is left among workers: shards are cut when they are leased, and the slowest are copied at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, bindparam, delete, func, literal, select, true, update
from sqlalchemy.dialects.postgresql import insert

from app.domain.shard import ShardState
from app.store.batches import may_run
from app.store.shards import DONE, Lease, Shard, held_by, named, new_lease, of_batch
from app.store.tables import batches, requests, results, shards
from app.store.tenants import hold_of
from app.store.turns import waits_here

_SHARED = ("batch_id", "tenant_id", "last_line", "created_at", "release_at", "start_by", "zone", "losses")
"""What both parts of a shard that is cut have in common."""


def cut(connection: Connection, shard: Shard, *, at: int) -> None:
    """Leave the lines from `at` on to a shard of their own, which waits as this one has waited."""
    whole = shards.alias()
    rest = connection.execute(_counted(shard, at)).mappings().one()
    values: Mapping[str, ColumnElement[Any]] = {
        "id": literal(named(shard.batch_id, at, shard.last_line, shard.losses)),
        "first_line": literal(at),
        "state": literal(ShardState.PENDING),
        **{name: literal(number) for name, number in rest.items()},
        **{name: whole.c[name] for name in _SHARED},
    }
    source = select(*(value.label(name) for name, value in values.items())).where(whole.c.id == shard.id)
    connection.execute(insert(shards).from_select(list(values), source))
    kept = {name: shards.c[name] - number for name, number in rest.items()}
    connection.execute(update(shards).where(shards.c.id == shard.id).values(last_line=at - 1, **kept))


def _counted(shard: Shard, at: int) -> Select[int, int, int]:
    """Requests, and answers so far, from that line on: those to long ones came first, wherever they stand."""
    asked, answered = (
        (table.c.batch_id == shard.batch_id, table.c.line.between(at, shard.last_line)) for table in (requests, results)
    )
    good = results.c.status_code == 200
    # Not as a join: of a batch that is new to its statistics PostgreSQL would go through all lines, once for each.
    return select(
        select(func.count()).select_from(requests).where(*asked).scalar_subquery().label("requests"),
        func.count().filter(good).label("completed"),
        func.count().filter(func.coalesce(~good, true())).label("failed"),
    ).where(*answered)


def is_waiting(connection: Connection, *, place: str, model: str, now: datetime) -> bool:
    """Whether a released shard of a zone and a model has no worker yet."""
    found = select(shards.c.id).join(batches, batches.c.id == shards.c.batch_id).where(*waits_here).exists()
    return bool(connection.execute(select(found), {"place": place, "model": model, "now": now}).scalar_one())


class Left(NamedTuple):
    """What the workers of a zone have yet to lease."""

    requests: int
    """At least so many, if there are many."""
    others: int
    """Other workers that run shards now."""


def _of_others(query: Select[Any]) -> Select[Any]:
    """Of the shards that other workers of the zone and model run now."""
    return query.select_from(shards.join(batches, batches.c.id == shards.c.batch_id)).where(
        shards.c.state == ShardState.LEASED,
        shards.c.zone == bindparam("place"),
        shards.c.lease_owner != bindparam("owner"),
        batches.c.model == bindparam("model"),
    )


def _waiting() -> Select[int]:
    waits = select(shards.c.requests).join(batches, batches.c.id == shards.c.batch_id).where(*waits_here)
    some = waits.limit(bindparam("most")).subquery()
    return select(func.coalesce(func.sum(some.c.requests), 0))


# Built once, as a worker executes them for every shard.
_OTHERS = _of_others(select(func.count(shards.c.lease_owner.distinct())))
_WAITING = _waiting()


def left(connection: Connection, *, place: str, model: str, owner: str, now: datetime) -> Left:
    """Released requests that nobody has leased, as seen by the worker `owner`; the one that it leases now is leased."""
    here = {"place": place, "model": model}
    others = connection.execute(_OTHERS, {**here, "owner": owner}).scalar_one()
    # With more shards than that nobody's fair share is less than a shard.
    number = connection.execute(_WAITING, {**here, "now": now, "most": 2 * (others + 1)}).scalar_one()
    return Left(requests=number, others=others)


def _slowest() -> Select[Any]:
    copy = shards.alias()
    unanswered = shards.c.requests - shards.c.completed - shards.c.failed
    behind = (
        _of_others(select(shards.c.lease_owner))
        .group_by(shards.c.lease_owner)
        .having(func.sum(unanswered) > func.max(shards.c.lease_at_once))
    )
    return (
        _of_others(select(shards, *of_batch))
        .where(
            shards.c.lease_owner.in_(behind),
            shards.c.losses == 0,
            shards.c.copy_of.is_(None),
            unanswered > 0,
            ~select(copy.c.id).where(copy.c.copy_of == shards.c.id).exists(),
            may_run,
            hold_of(shards.c.tenant_id).is_(None),
        )
        .order_by(unanswered.desc(), shards.c.id)
        .limit(1)
    )


_SLOWEST = _slowest()


def copy_slowest(
    connection: Connection,
    *,
    place: str,
    model: str,
    owner: str,
    at_once: int,
    now: datetime,
    duration: timedelta,
) -> Lease | None:
    """The lease of a new copy of the shard that is furthest from its end, among those of workers that hold more than
    they run at once, so that some still wait.

    None where there is none that has no copy yet. Suspects are left alone. A copy is born leased and never waits: when
    it loses its worker, it ends.
    """
    row = connection.execute(_SLOWEST, {"place": place, "model": model, "owner": owner}).mappings().first()
    if row is None:
        return None
    copied = ("batch_id", "tenant_id", "first_line", "last_line", "requests", "start_by", "zone")
    values = {name: row[name] for name in copied} | {"id": f"{row['id']}+", "copy_of": row["id"]}
    lease = new_lease(_shard({**values, "losses": 0}), row)
    held = held_by(lease, owner, at_once, now + duration)
    times = {"created_at": now, "release_at": now, "sent_at": now}
    # Two idle workers may have found the same one: one of them copies it.
    statement = insert(shards).values(**values, **held, **times).on_conflict_do_nothing()
    return lease if connection.execute(statement.returning(shards.c.id)).first() else None


def _shard(values: Mapping[str, Any]) -> Shard:
    return Shard(**{field.name: values[field.name] for field in fields(Shard)})


def end_copy(connection: Connection, shard_id: str) -> None:
    """A copy has lost its worker: what it answered counts for the shard that it copies, which may be copied anew."""
    ended = delete(shards).where(shards.c.id == shard_id)
    gone = ended.returning(shards.c.copy_of, shards.c.completed, shards.c.failed).cte("gone")
    connection.execute(
        update(shards)
        .where(shards.c.id == gone.c.copy_of)
        .values(completed=shards.c.completed + gone.c.completed, failed=shards.c.failed + gone.c.failed)
    )


def close_twin(connection: Connection, shard_id: str) -> None:
    """End a shard all of whose lines another has answered; one that is being written just now ends by itself."""
    free = select(shards.c.id).where(shards.c.id == shard_id).with_for_update(skip_locked=True)
    connection.execute(update(shards).where(shards.c.id.in_(free)).values(**DONE))
