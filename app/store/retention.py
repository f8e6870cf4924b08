"""Letting go of texts whose time has passed, a piece at a time; the figures beside them stay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Float,
    Table,
    and_,
    case,
    cast,
    delete,
    extract,
    func,
    literal,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from app.domain.batch import FINAL
from app.domain.retention import Kept
from app.store import rejections
from app.store.files import is_needed
from app.store.privacy import cached_answers, retention
from app.store.quality import evaluation_rounds, evaluation_samples, verdicts
from app.store.tables import batches, files, requests, responses


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What is past its retention at a moment."""

    default_s: Mapping[Kept, float | None]
    """Where a tenant has no time of its own."""
    now: datetime

    def passed(self, kind: Kept, table: Table, since: ColumnElement[datetime]) -> ColumnElement[bool]:
        """Whether a row's text of this kind, which has aged `since` then, is to go."""
        own = and_(retention.c.tenant_id == table.c.tenant_id, retention.c.kind == kind)
        stated = select(retention.c.kind).where(own).exists()
        keep_s = select(retention.c.keep_s).where(own).scalar_subquery()
        default_s = literal(self.default_s[kind], Float)
        return cast(extract("epoch", literal(self.now) - since), Float) > case((stated, keep_s), else_=default_s)


def put(connection: Connection, tenant: str, kind: Kept, keep_s: float | None) -> None:
    """Give a tenant a time of its own; None: until it is erased."""
    statement = insert(retention).values(tenant_id=tenant, kind=kind, keep_s=keep_s)
    connection.execute(statement.on_conflict_do_update(index_elements=["tenant_id", "kind"], set_={"keep_s": keep_s}))


def reset(connection: Connection, tenant: str, kind: Kept) -> None:
    """Let the settings hold for a tenant."""
    connection.execute(delete(retention).where(retention.c.tenant_id == tenant, retention.c.kind == kind))


def own(connection: Connection, tenant: str) -> Mapping[Kept, float | None]:
    """A tenant's own times."""
    query = select(retention.c.kind, retention.c.keep_s).where(retention.c.tenant_id == tenant)
    return {Kept(kind): keep_s for kind, keep_s in connection.execute(query)}


_ended_at = func.greatest(batches.c.completed_at, batches.c.failed_at, batches.c.expired_at, batches.c.cancelled_at)
_MARKS: Mapping[Kept, Column[datetime]] = {
    Kept.PROMPTS: batches.c.prompts_gone_at,
    Kept.ANSWERS: batches.c.answers_gone_at,
}


def batches_past(connection: Connection, kind: Kept, limits: Limits, limit: int) -> Sequence[str]:
    """Ended batches whose prompts, or answers, are still to go."""
    query = (
        select(batches.c.id)
        .where(batches.c.status.in_(FINAL), batches.c.erased_at.is_(None), _MARKS[kind].is_(None))
        .where(limits.passed(kind, batches, _ended_at))
        .order_by(batches.c.id)
        .limit(limit)
    )
    return list(connection.execute(query).scalars())


def drop_lines(connection: Connection, kind: Kept, batch_id: str, *, after: int, limit: int) -> int | None:
    """Drop the prompts, or the answers, of up to `limit` lines behind the line `after`; the last of them, None if there
    was none.

    A batch that goes on meanwhile is left alone: it needs them.
    """
    status = select(batches.c.status).where(batches.c.id == batch_id).with_for_update(read=True)
    if connection.execute(status).scalar() not in FINAL:
        return None
    table = requests if kind is Kept.PROMPTS else responses
    lines = select(table.c.line).where(table.c.batch_id == batch_id, table.c.line > after)
    if kind is Kept.PROMPTS:
        lines = lines.where(table.c.body.is_not(None))
    found = list(connection.execute(lines.order_by(table.c.line).limit(limit)).scalars())
    if not found:
        return None
    these = table.c.batch_id == batch_id, table.c.line.between(found[0], found[-1])
    dropped = update(table).where(*these).values(body=None) if kind is Kept.PROMPTS else delete(table).where(*these)
    connection.execute(dropped)
    last: int = found[-1]
    return last


def mark_gone(connection: Connection, kind: Kept, batch_id: str, now: datetime) -> None:
    """Say that a batch's prompts, or answers, are no longer kept; one that goes on by now is not marked."""
    these = batches.c.id == batch_id, batches.c.status.in_(FINAL)
    marked = connection.execute(update(batches).where(*these).values({_MARKS[kind]: now})).rowcount
    if marked and kind is Kept.PROMPTS:
        rejections.forget_messages(connection, batch_id)


def drop_samples(connection: Connection, limits: Limits, limit: int) -> int:
    """Drop what was said in samples that have ended, or whose round did; of how many."""
    table = evaluation_samples
    closed = select(evaluation_rounds.c.id).where(evaluation_rounds.c.closed_at.is_not(None))
    ended = or_(table.c.state.in_(["judged", "failed"]), table.c.round_id.in_(closed))
    key = tuple_(table.c.round_id, table.c.batch_id, table.c.line)
    old = (
        select(table.c.round_id, table.c.batch_id, table.c.line)
        .where(ended, table.c.body.is_not(None), limits.passed(Kept.SAMPLES, table, table.c.updated_at))
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    # A judge's complaint may cite what it complains of.
    nothing = {"body": None, "answers": None, "fault": None}
    return connection.execute(update(table).where(key.in_(old)).values(nothing)).rowcount


def drop_replies(connection: Connection, limits: Limits, limit: int) -> int:
    """Drop the raw replies of judges; of how many verdicts."""
    passed = limits.passed(Kept.VERDICTS, verdicts, verdicts.c.created_at)
    old = select(verdicts.c.id).where(verdicts.c.replies.is_not(None), passed).limit(limit)
    these = verdicts.c.id.in_(old.with_for_update(skip_locked=True))
    return connection.execute(update(verdicts).where(these).values(replies=None)).rowcount


def drop_cached(connection: Connection, limits: Limits, limit: int) -> int:
    """Let answers not be given again; of how many."""
    table = cached_answers
    passed = limits.passed(Kept.CACHE, table, table.c.created_at)
    old = select(table.c.tenant_id, table.c.key).where(passed).limit(limit).with_for_update(skip_locked=True)
    return connection.execute(delete(table).where(tuple_(table.c.tenant_id, table.c.key).in_(old))).rowcount


def old_files(connection: Connection, limits: Limits, limit: int) -> Sequence[str]:
    """Files that no open batch needs, locked for this transaction, oldest first."""
    query = (
        select(files.c.id)
        .where(limits.passed(Kept.FILES, files, files.c.created_at), ~is_needed())
        .order_by(files.c.created_at)
        .limit(limit)
    )
    return list(connection.execute(query.with_for_update(skip_locked=True)).scalars())
