"""Shards and their leases: PostgreSQL is the truth about who runs what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, RowMapping, Select, bindparam, false, func, insert, select, update

from app.domain.batch import CACHE_KEY
from app.domain.shard import Lines, ShardState
from app.store.ids import new_id
from app.store.tables import batches, shards
from app.store.turns import waits_here


@dataclass(frozen=True, kw_only=True)
class Shard:
    id: str
    batch_id: str
    tenant_id: str
    first_line: int
    last_line: int
    requests: int
    losses: int
    zone: str
    """Where it runs; empty for the default zone."""
    copy_of: str | None
    """The shard whose lines it runs too, from behind."""


@dataclass(frozen=True, kw_only=True)
class Lease:
    """The right to run a shard, until it lapses or is taken away."""

    id: str
    shard: Shard
    endpoint: str
    is_cached: bool
    """Whether its batch takes known answers, and leaves its own to others."""


_SHARD = (
    shards.c.id,
    shards.c.batch_id,
    shards.c.tenant_id,
    shards.c.first_line,
    shards.c.last_line,
    shards.c.requests,
    shards.c.losses,
    shards.c.zone,
    shards.c.copy_of,
)

of_batch = (
    batches.c.endpoint,
    func.coalesce(batches.c.metadata[CACHE_KEY].astext == "on", false()).label("is_cached"),
)
"""What a lease says of the shard's batch."""

DONE: Mapping[str, Any] = {"state": ShardState.DONE, "lease_id": None, "lease_expires_at": None}
_WAITING: Mapping[str, Any] = {**DONE, "state": ShardState.PENDING, "sent_at": None}


def named(batch_id: str, first: int, last: int, losses: int) -> str:
    """The id names the batch and the lines, which is what Flower shows."""
    return f"{batch_id}:{first}-{last}{f'~{losses}' if losses else ''}"


def add(
    connection: Connection,
    *,
    tenant: str,
    batch_id: str,
    ranges: Iterable[Lines],
    now: datetime,
    place: str = "",
    losses: int = 0,
) -> None:
    """One pending shard per range of lines, released at once unless a plan says otherwise."""
    rows = [
        {
            "id": named(batch_id, lines.first, lines.last, losses),
            "batch_id": batch_id,
            "tenant_id": tenant,
            "first_line": lines.first,
            "last_line": lines.last,
            "requests": lines.requests,
            "state": ShardState.PENDING,
            "created_at": now,
            "release_at": now,
            "zone": place,
            "losses": losses,
        }
        for lines in ranges
    ]
    if rows:
        connection.execute(insert(shards), rows)


def unsend(connection: Connection, shard_ids: Sequence[str]) -> None:
    """Take back `turns.waiting`: the messages could not be sent."""
    connection.execute(update(shards).where(shards.c.id.in_(shard_ids)).values(sent_at=None))


def _leasable() -> Select[Any]:
    copy = shards.alias()
    runs_it = copy.c.copy_of == shards.c.id, copy.c.lease_owner == bindparam("owner"), copy.c.state == ShardState.LEASED
    own_copy = select(copy.c.id).where(*runs_it).exists()
    return (
        select(*_SHARD, *of_batch)
        .join(batches, batches.c.id == shards.c.batch_id)
        .where(shards.c.id == bindparam("shard_id"), *waits_here, ~own_copy)
        .with_for_update(of=shards, skip_locked=True)
    )


# Statements that workers execute for every shard are built once.
_LEASABLE = _leasable()
_CHANGE = update(shards).where(shards.c.id == bindparam("shard_id"))


def lease(
    connection: Connection,
    shard_id: str,
    *,
    place: str = "",
    model: str,
    owner: str,
    at_once: int = 1,
    now: datetime,
    duration: timedelta,
) -> Lease | None:
    """Take a pending shard of a batch in progress; None if it is not to be had (any more), in this zone, with this
    model, while its tenant is held or a copy runs here. `at_once` is how many requests the worker runs at a time."""
    given = {"shard_id": shard_id, "place": place, "model": model, "owner": owner, "now": now}
    row = connection.execute(_LEASABLE, given).mappings().first()
    if row is None:
        return None
    lease = new_lease(Shard(**{column.name: row[column.name] for column in _SHARD}), row)
    connection.execute(_CHANGE, {"shard_id": shard_id, **held_by(lease, owner, at_once, now + duration)})
    return lease


def new_lease(shard: Shard, row: RowMapping) -> Lease:
    """Of a shard, with `of_batch` in `row`."""
    return Lease(id=new_id("lease_"), shard=shard, **{column.name: row[column.name] for column in of_batch})


def held_by(lease: Lease, owner: str, at_once: int, until: datetime) -> Mapping[str, Any]:
    """The cells of a leased shard."""
    return {
        "state": ShardState.LEASED,
        "lease_id": lease.id,
        "lease_owner": owner,
        "lease_at_once": at_once,
        "lease_expires_at": until,
    }


def losses(connection: Connection, shard_id: str) -> int:
    """Leases that the shard has lost; 0 for one that is not there."""
    return connection.execute(select(shards.c.losses).where(shards.c.id == shard_id)).scalar() or 0


class Held(NamedTuple):
    """A lease that is still ours."""

    twin: str | None
    """The shard with the same lines that another worker runs too: the copy of this one, or what this is a copy of."""


_OURS = shards.c.id == bindparam("shard_id"), shards.c.lease_id == bindparam("lease")


def _held() -> Select[str]:
    copy = shards.alias()
    its_copy = select(copy.c.id).where(copy.c.copy_of == shards.c.id).scalar_subquery()
    return select(func.coalesce(shards.c.copy_of, its_copy)).where(*_OURS).with_for_update(of=shards)


_HELD = _held()
_CHANGE_OURS = update(shards).where(*_OURS)
_COUNT_OURS = _CHANGE_OURS.values(
    completed=shards.c.completed + bindparam("answers"), failed=shards.c.failed + bindparam("failures")
)


def _ours(lease: Lease) -> Mapping[str, Any]:
    return {"shard_id": lease.shard.id, "lease": lease.id}


def hold(connection: Connection, lease: Lease) -> Held | None:
    """Whether the lease is still ours; if so, nobody can take it before this transaction ends."""
    row = connection.execute(_HELD, _ours(lease)).first()
    return Held(*row) if row else None


def renew(
    connection: Connection,
    lease: Lease,
    *,
    now: datetime,
    duration: timedelta,
    completed: int,
    failed: int,
    done: bool,
) -> bool:
    """Prolong a lease and add to its counts, or end it; False if the lease was lost and nothing may be written."""
    changes = DONE if done else {"lease_expires_at": now + duration}
    given = {**_ours(lease), "answers": completed, "failures": failed, **changes}
    return connection.execute(_COUNT_OURS, given).rowcount == 1


def give_back(connection: Connection, lease: Lease, release_at: datetime) -> None:
    """Return a shard unfinished, without counting it as lost."""
    connection.execute(_CHANGE_OURS, {**_ours(lease), **_WAITING, "release_at": release_at})


def lapse(connection: Connection, lease: Lease, now: datetime) -> None:
    """Let a lease lapse at once: its worker knows that it is lost."""
    connection.execute(_CHANGE_OURS, {**_ours(lease), "lease_expires_at": now})


def lapsed(connection: Connection, now: datetime) -> Sequence[Shard]:
    """Shards whose worker fell silent, locked for this transaction."""
    query = (
        select(*_SHARD)
        .where(shards.c.state == ShardState.LEASED, shards.c.lease_expires_at <= now)
        # In the same order in every transaction: lines that are given up take the turns of their batches.
        .order_by(shards.c.batch_id, shards.c.first_line)
        .with_for_update(skip_locked=True)
    )
    return [Shard(**row) for row in connection.execute(query).mappings()]


def retry(connection: Connection, shard: Shard) -> None:
    """Back to pending, one more lease lost."""
    connection.execute(update(shards).where(shards.c.id == shard.id).values(**_WAITING, losses=shards.c.losses + 1))


def close(connection: Connection, shard_id: str, *, failed: int = 0) -> None:
    """End a shard for good."""
    connection.execute(update(shards).where(shards.c.id == shard_id).values(**DONE, failed=shards.c.failed + failed))


def close_all(connection: Connection, batch_id: str) -> None:
    """End every shard of a batch; whoever holds a lease can no longer write."""
    connection.execute(
        update(shards).where(shards.c.batch_id == batch_id, shards.c.state != ShardState.DONE).values(**DONE)
    )


def all_done(connection: Connection, batch_id: str) -> bool:
    query = select(shards.c.id).where(shards.c.batch_id == batch_id, shards.c.state != ShardState.DONE).limit(1)
    return connection.execute(query).first() is None
