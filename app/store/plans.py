"""What the planner reads and writes: the open batches with their shards, and when and where each of these runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import (
    ARRAY,
    Connection,
    DateTime,
    Text,
    and_,
    bindparam,
    case,
    column,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.types import TypeEngine

from app.domain.batch import Schedule
from app.domain.shard import ShardState
from app.domain.work import margin_h
from app.store.batches import may_run
from app.store.tables import batches, files, shards


@dataclass(frozen=True, kw_only=True)
class OpenBatch:
    """A batch in progress, as far as planning is concerned."""

    id: str
    tenant_id: str
    model: str
    schedule: Schedule
    zones: Sequence[str]
    """Where it may run; empty: only in the default zone."""
    composition: Sequence[Mapping[str, Any]]
    created_at: datetime
    expires_at: datetime
    bytes: int
    """Of its input file."""
    total: int
    promised: bool
    """Whether its newest plan keeps its deadline."""

    @property
    def due_at(self) -> datetime:
        """When it is planned to end at the latest: a margin before its window closes."""
        window_h = (self.expires_at - self.created_at) / timedelta(hours=1)
        return self.expires_at - timedelta(hours=margin_h(window_h))


class OpenShard(NamedTuple):
    """A shard that has not ended. There may be a hundred thousand, and tuples are read in a third of the time."""

    id: str
    batch_id: str
    zone: str
    requests: int
    leased: bool
    release_at: datetime
    start_by: datetime | None


@dataclass(frozen=True, kw_only=True)
class Planned:
    """When and where a shard runs."""

    id: str
    zone: str
    release_at: datetime
    start_by: datetime | None
    """None: it never goes first."""


def claim(connection: Connection) -> None:
    """Wait until nobody else plans; nobody else will before this transaction ends."""
    connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended("sprout.plan", 0))))


def open_batches(connection: Connection, *, lock: bool) -> Sequence[OpenBatch]:
    """With `lock`, they cannot be moved before this transaction ends; one that is just moving is left out."""
    own = {field.name for field in fields(OpenBatch)} & set(batches.c.keys())
    size = func.coalesce(files.c.bytes, 0).label("bytes")
    promised = func.coalesce(batches.c.plan["promised"].as_boolean(), False)
    query = (
        select(*(batches.c[name] for name in sorted(own)), size, promised.label("promised"))
        # Of a retry it may be gone.
        .outerjoin(files, files.c.id == batches.c.input_file_id)
        .where(may_run)
        .order_by(batches.c.id)
    )
    if lock:
        query = query.with_for_update(of=batches, skip_locked=True, key_share=True)
    return [OpenBatch(**{**row, "schedule": Schedule(row["schedule"])}) for row in connection.execute(query).mappings()]


def open_shards(connection: Connection) -> Sequence[OpenShard]:
    """Of all batches in progress, by batch and line."""
    query = (
        select(
            shards.c.id,
            shards.c.batch_id,
            shards.c.zone,
            shards.c.requests,
            (shards.c.state == ShardState.LEASED).label("leased"),
            shards.c.release_at,
            shards.c.start_by,
        )
        .join(batches, batches.c.id == shards.c.batch_id)
        # A copy's lines are planned with the shard that it is a copy of.
        .where(
            may_run,
            shards.c.state != ShardState.DONE,
            shards.c.copy_of.is_(None),
        )
        .order_by(shards.c.batch_id, shards.c.first_line)
    )
    return [OpenShard(*row) for row in connection.execute(query)]


def place(connection: Connection, planned: Sequence[Planned], now: datetime) -> None:
    """Give pending shards their zone, release and latest start; one that was leased meanwhile is left alone."""
    if not planned:
        return
    ordered = sorted(planned, key=lambda shard: shard.id)
    kinds: Mapping[str, TypeEngine[Any]] = {
        "id": Text(),
        "zone": Text(),
        "release_at": DateTime(timezone=True),
        "start_by": DateTime(timezone=True),
    }
    columns = [
        bindparam(f"all_{name}", [getattr(shard, name) for shard in ordered], type_=ARRAY(kind))
        for name, kind in kinds.items()
    ]
    new = (
        func.unnest(*columns).table_valued(*(column(name, kind) for name, kind in kinds.items())).render_derived("new")
    )
    # The last: sent before the clock was set back, when it was to run later than now.
    in_vain = or_(new.c.zone != shards.c.zone, new.c.release_at > now, shards.c.sent_at > now)
    connection.execute(
        update(shards)
        .where(and_(shards.c.id == new.c.id, shards.c.state == ShardState.PENDING))
        .values(
            zone=new.c.zone,
            release_at=new.c.release_at,
            start_by=new.c.start_by,
            # A message that was sent before rings in vain: it must be rung for again when its time has come.
            sent_at=case((in_vain, None), else_=shards.c.sent_at),
        )
    )


def note(connection: Connection, notes: Mapping[str, Mapping[str, Any]], *, first: bool) -> None:
    """Keep batches' newest plans, by batch id; with `first`, also as the first one of those that have none yet."""
    if not notes:
        return
    new = bindparam("new", type_=batches.c.plan.type)
    values: dict[str, Any] = {"plan": new}
    if first:
        values["first_plan"] = func.coalesce(batches.c.first_plan, new)
    connection.execute(
        update(batches).where(batches.c.id == bindparam("batch")).values(**values),
        [{"batch": batch_id, "new": plan} for batch_id, plan in sorted(notes.items())],
    )


def release(connection: Connection, batch_id: str, now: datetime) -> None:
    """Give up a batch's schedule, and its plan with it: its shards may run from now on."""
    connection.execute(update(batches).where(batches.c.id == batch_id).values(schedule=Schedule.ASAP, plan=None))
    connection.execute(
        update(shards)
        .where(shards.c.batch_id == batch_id, shards.c.state == ShardState.PENDING, shards.c.release_at > now)
        .values(release_at=now, sent_at=None)
    )
