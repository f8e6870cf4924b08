"""Erasing what belongs to a batch or to a tenant, wherever it stands.

The tables are asked which of them name a batch or a tenant, so that one that is added later is reached too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, case, delete, exists, func, literal_column, or_, select, update

from app.domain.batch import FINAL, BatchStatus
from app.store.accounts import api_keys
from app.store.batches import ENDED
from app.store.knowledge import class_models
from app.store.schema import metadata
from app.store.tables import batches, files, shards

_FILES = ("input_file_id", "output_file_id", "error_file_id")


def begin(connection: Connection, batch_id: str, now: datetime) -> Sequence[str]:
    """Hide a batch and stop it, and remove the rows of those of its files that no other batch has; their ids.

    Whoever calls this has claimed it, so that nobody writes its requests or files. A worker that runs a shard of it
    finds its lease gone with the shard, and writes nothing more.
    """
    is_final = batches.c.status.in_(FINAL)
    stopped: Mapping[str, Any] = {
        "erased_at": func.coalesce(batches.c.erased_at, now),
        "status": case((is_final, batches.c.status), else_=BatchStatus.CANCELLED),
        "cancelled_at": case((is_final, batches.c.cancelled_at), else_=now),
        "sent_at": None,
    }
    row = connection.execute(
        update(batches)
        .where(batches.c.id == batch_id)
        .values(stopped)
        .returning(*(batches.c[name] for name in ("tenant_id", "model", *_FILES)))
    ).one()
    connection.execute(delete(shards).where(shards.c.batch_id == batch_id))
    learned = class_models.c.tenant_id == row.tenant_id, class_models.c.model == row.model
    connection.execute(update(class_models).where(*learned).values(stale=True))
    connection.execute(select(func.pg_notify(ENDED, batch_id)))
    return _remove_own(connection, [file_id for file_id in row[2:] if file_id])


def _remove_own(connection: Connection, file_ids: Sequence[str]) -> Sequence[str]:
    # Of two batches with one file that are erased at once, the second waits here, and finds the first one gone.
    locked = select(files.c.id).where(files.c.id.in_(file_ids)).order_by(files.c.id).with_for_update()
    there = list(connection.execute(locked).scalars())
    names = (batches.c[name] for name in _FILES)
    used = exists().where(batches.c.erased_at.is_(None), or_(*(name == files.c.id for name in names)))
    removed = delete(files).where(files.c.id.in_(there), ~used).returning(files.c.id)
    return list(connection.execute(removed).scalars())


def keep_all(connection: Connection, batch_ids: Sequence[str]) -> bool:
    """Whether none of these batches is being erased; if so, none will be before this transaction ends."""
    query = select(batches.c.id).where(batches.c.id.in_(batch_ids), batches.c.erased_at.is_(None))
    return len(connection.execute(query.with_for_update(read=True)).all()) == len(batch_ids)


def begun(connection: Connection, limit: int) -> Sequence[str]:
    """Batches that are being erased."""
    query = select(batches.c.id).where(batches.c.erased_at.is_not(None)).order_by(batches.c.erased_at).limit(limit)
    return list(connection.execute(query).scalars())


def batches_of(connection: Connection, tenant: str, *, after: str, limit: int) -> Sequence[str]:
    """Every batch of a tenant, those that are being erased too, by id behind `after`."""
    query = select(batches.c.id).where(batches.c.tenant_id == tenant, batches.c.id > after)
    return list(connection.execute(query.order_by(batches.c.id).limit(limit)).scalars())


def claim(connection: Connection, batch_id: str) -> None:
    """Wait until nobody else works on a batch; nobody will before this transaction ends."""
    connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(batch_id, 0))))


def tables_with(column: str) -> Sequence[Table]:
    """Those that have it, what refers to others standing before these."""
    return [table for table in reversed(metadata.sorted_tables) if column in table.c]


def remove_rows(connection: Connection, table: Table, column: str, value: str, limit: int) -> int:
    """Remove up to `limit` rows that have this value there; how many were."""
    place: ColumnElement[Any] = literal_column(f'"{table.name}".ctid')
    some = select(place).select_from(table).where(table.c[column] == value).limit(limit)
    return connection.execute(delete(table).where(place == func.any(func.array(some.scalar_subquery())))).rowcount


def remove_batch(connection: Connection, batch_id: str) -> None:
    """Remove the row of a batch of which nothing else is left."""
    connection.execute(delete(batches).where(batches.c.id == batch_id))


def other_user(connection: Connection, batch_id: str) -> tuple[str, str] | None:
    """The input file of a batch and another batch that has it, if one does."""
    other = batches.alias()
    query = (
        select(batches.c.input_file_id, other.c.id)
        .join(other, other.c.input_file_id == batches.c.input_file_id)
        .where(batches.c.id == batch_id, other.c.id != batch_id, other.c.erased_at.is_(None))
    )
    row = connection.execute(query.limit(1)).first()
    return (row[0], row[1]) if row else None


def remove_keys(connection: Connection, tenant: str) -> int:
    """Take a tenant's keys away; how many there were."""
    return connection.execute(delete(api_keys).where(api_keys.c.tenant_id == tenant)).rowcount


def files_of(connection: Connection, tenant: str, limit: int) -> Sequence[str]:
    return list(connection.execute(select(files.c.id).where(files.c.tenant_id == tenant).limit(limit)).scalars())


def remove_files(connection: Connection, file_ids: Sequence[str]) -> None:
    connection.execute(delete(files).where(files.c.id.in_(file_ids)))
