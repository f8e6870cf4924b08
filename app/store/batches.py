"""Batches: their rows and the moves between statuses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, insert, or_, select, tuple_, update

from app.domain.batch import MOVES, BatchStatus, Schedule
from app.domain.errors import NotFound
from app.domain.shard import ShardState
from app.domain.webhook import batch_event
from app.store import webhooks
from app.store.tables import batches, shards
from app.store.tenants import hold_of

ENDED = "sprout_batch_ended"
"""PostgreSQL's channel on which the ids of batches are said that have ended."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    id: str
    tenant_id: str
    endpoint: str
    input_file_id: str
    completion_window: str
    status: BatchStatus
    created_at: datetime
    expires_at: datetime
    model: str | None = None
    """The one that all of its requests name; None until it is validated."""
    errors: Sequence[Mapping[str, Any]] | None = None
    metadata: Mapping[str, str] | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    total: int = 0
    """Lines that are not blank; 0 until it is validated."""
    rejected: int = 0
    """How many of them validation has rejected."""
    completed: int | None = None
    failed: int | None = None
    usage: Mapping[str, Any] | None = None
    in_progress_at: datetime | None = None
    finalizing_at: datetime | None = None
    completed_at: datetime | None = None
    failed_at: datetime | None = None
    expired_at: datetime | None = None
    cancelling_at: datetime | None = None
    cancelled_at: datetime | None = None
    sent_at: datetime | None = None
    schedule: Schedule = Schedule.ASAP
    zones: Sequence[str] = ()
    """Where it may run, the default zone if empty."""
    composition: Sequence[Mapping[str, Any]] = ()
    """`workload`, `pinned_level`, `requests`: how many of its lines are alike; empty until it is validated."""
    first_plan: Mapping[str, Any] | None = None
    """The first plan: `app.services.deferral` says what is in it."""
    plan: Mapping[str, Any] | None = None
    """The newest one."""
    output_expires_after_s: int | None = None
    """How long its output and error files are kept; None: until somebody removes them."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How many lines have an answer, and how many ended in an error or were rejected."""

    completed: int
    failed: int
    hold: str | None = None
    """Why none of the others is started now: what its tenant has used up. None while nothing keeps them."""


def _batch(row: Row[Any]) -> Batch:
    values = dict(row._mapping)
    values |= {"status": BatchStatus(values["status"]), "schedule": Schedule(values["schedule"])}
    values |= {name: tuple(values[name]) for name in ("zones", "composition")}
    return Batch(**values)


def add(connection: Connection, batch: Batch) -> None:
    connection.execute(
        insert(batches).values(**{**vars(batch), "zones": list(batch.zones), "composition": list(batch.composition)})
    )


def get(connection: Connection, tenant: str, batch_id: str) -> Batch:
    """Raises NotFound."""
    row = connection.execute(select(batches).where(batches.c.tenant_id == tenant, batches.c.id == batch_id)).first()
    if row is None:
        raise NotFound(f"There is no batch '{batch_id}'.")
    return _batch(row)


def find(connection: Connection, batch_id: str) -> Batch | None:
    """The batch of any tenant, for the data plane."""
    row = connection.execute(select(batches).where(batches.c.id == batch_id)).first()
    return _batch(row) if row else None


def claim(connection: Connection, batch_id: str) -> bool:
    """Whether nobody else works on the batch; if so, nobody else will before this transaction ends.

    Not the lock of its row: a long validation must not keep others from cancelling the batch.
    """
    return bool(connection.execute(select(func.pg_try_advisory_xact_lock(func.hashtextextended(batch_id, 0)))).scalar())


def newest(connection: Connection, tenant: str, *, after: str | None, limit: int) -> Sequence[Batch]:
    """Newest first, starting behind the batch `after`. Raises NotFound if `after` is not there."""
    query = select(batches).where(batches.c.tenant_id == tenant)
    if after is not None:
        edge = get(connection, tenant, after)
        query = query.where(tuple_(batches.c.created_at, batches.c.id) < (edge.created_at, edge.id))
    query = query.order_by(batches.c.created_at.desc(), batches.c.id.desc()).limit(limit)
    return [_batch(row) for row in connection.execute(query)]


def move(connection: Connection, batch_id: str, target: BatchStatus, now: datetime, **values: Any) -> bool:
    """Move to `target` if the current status allows it; whether it moved. Stamps `<target>_at`; that a batch has ended
    is said on the channel ENDED, and its tenant's webhooks are to be told."""
    sources = [status for status, targets in MOVES.items() if target in targets]
    cells = {"status": target, "sent_at": None, f"{target}_at": now, **values}
    statement = update(batches).where(batches.c.id == batch_id, batches.c.status.in_(sources)).values(**cells)
    owner = connection.execute(statement.returning(batches.c.tenant_id)).scalar()
    if owner is not None and target.is_final:
        connection.execute(select(func.pg_notify(ENDED, batch_id)))
        webhooks.announce(connection, tenant=owner, kind=batch_event(target), data={"id": batch_id}, now=now)
    return owner is not None


def is_open() -> ColumnElement[bool]:
    """Whether a batch has not ended, as the index over the open ones has it."""
    return batches.c.status.not_in([status for status in BatchStatus if status.is_final])


def open_models(connection: Connection) -> Sequence[str]:
    """The models of all tenants' batches in progress, by name."""
    query = select(batches.c.model).distinct().where(batches.c.status == BatchStatus.IN_PROGRESS)
    return list(connection.execute(query.order_by(batches.c.model)).scalars())


def counts(connection: Connection, batch_ids: Sequence[str]) -> Mapping[str, Counts]:
    """Progress per batch: its final counts, or while it runs the sums over its shards and what was rejected."""
    query = (
        select(
            batches.c.id,
            func.coalesce(batches.c.completed, func.sum(shards.c.completed), 0),
            func.coalesce(batches.c.failed, func.coalesce(func.sum(shards.c.failed), 0) + batches.c.rejected),
            hold_of(batches.c.tenant_id),
        )
        .outerjoin(shards, shards.c.batch_id == batches.c.id)
        .where(batches.c.id.in_(batch_ids))
        .group_by(batches.c.id)
    )
    return {
        found: Counts(completed=done, failed=failed, hold=hold)
        for found, done, failed, hold in connection.execute(query)
    }


def created_since(connection: Connection, tenant: str, since: datetime) -> Sequence[datetime]:
    """When a tenant's batches were created after that moment, ascending."""
    query = select(batches.c.created_at).where(batches.c.tenant_id == tenant, batches.c.created_at > since)
    return list(connection.execute(query.order_by(batches.c.created_at)).scalars())


def unanswered(connection: Connection, tenant: str) -> int:
    """Requests of a tenant's batches in progress that have no answer yet."""
    running = select(batches.c.id, batches.c.total).where(
        batches.c.tenant_id == tenant, batches.c.status == BatchStatus.IN_PROGRESS
    )
    found = running.subquery()
    ended = select(func.coalesce(func.sum(shards.c.completed + shards.c.failed), 0)).where(
        shards.c.batch_id.in_(select(found.c.id))
    )
    query = select(func.coalesce(func.sum(found.c.total), 0) - ended.scalar_subquery())
    return int(connection.execute(query).scalar_one())


def due(connection: Connection, status: BatchStatus, *, now: datetime, resend: timedelta) -> Sequence[str]:
    """Batches in `status` whose task was never sent, or `resend` ago without effect; marks them sent."""
    # The last: the clock was set back since.
    late = or_(batches.c.sent_at.is_(None), batches.c.sent_at < now - resend, batches.c.sent_at > now)
    query = select(batches.c.id).where(batches.c.status == status, late).with_for_update(skip_locked=True)
    found = list(connection.execute(query).scalars())
    connection.execute(update(batches).where(batches.c.id.in_(found)).values(sent_at=now))
    return found


def overdue(connection: Connection, now: datetime) -> Sequence[str]:
    """Open batches whose completion window has passed, locked for this transaction; one that is just moving is left."""
    open_statuses = (BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS)
    query = select(batches.c.id).where(batches.c.status.in_(open_statuses), batches.c.expires_at <= now)
    return list(connection.execute(query.with_for_update(skip_locked=True, key_share=True)).scalars())


def answered(connection: Connection) -> Sequence[str]:
    """Batches in progress all of whose shards are done."""
    open_shards = (
        select(shards.c.id).where(shards.c.batch_id == batches.c.id, shards.c.state != ShardState.DONE).exists()
    )
    query = select(batches.c.id).where(batches.c.status == BatchStatus.IN_PROGRESS, ~open_shards)
    return list(connection.execute(query).scalars())
