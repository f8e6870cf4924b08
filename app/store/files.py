"""Files: a row here, the bytes in the file store. A file that has expired is not there, though its row may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, delete, exists, insert, or_, select, tuple_

from app.domain.errors import Conflict, NotFound
from app.store.batches import is_open
from app.store.tables import batches, files


@dataclass(frozen=True, kw_only=True)
class File:
    id: str
    tenant_id: str
    purpose: str
    filename: str
    bytes: int
    created_at: datetime
    expires_at: datetime | None = None


def add(connection: Connection, file: File) -> None:
    connection.execute(insert(files).values(**vars(file)))


def get(connection: Connection, tenant: str, file_id: str, now: datetime, *, keep: bool = False) -> File:
    """`keep`: nobody can remove it before this transaction ends. Raises NotFound."""
    query = select(files).where(files.c.tenant_id == tenant, files.c.id == file_id, _is_there(now))
    if keep:
        query = query.with_for_update(read=True, key_share=True)
    row = connection.execute(query).mappings().first()
    if row is None:
        raise _missing(file_id)
    return File(**row)


def page(
    connection: Connection,
    tenant: str,
    now: datetime,
    *,
    purpose: str | None,
    after: str | None,
    limit: int,
    oldest_first: bool = False,
) -> Sequence[File]:
    """In the order of their creation, starting behind the file `after`. Raises NotFound if `after` is not there."""
    query = select(files).where(files.c.tenant_id == tenant, _is_there(now))
    if purpose:
        query = query.where(files.c.purpose == purpose)
    place = tuple_(files.c.created_at, files.c.id)
    if after is not None:
        edge = get(connection, tenant, after, now)
        behind = (edge.created_at, edge.id)
        query = query.where(place > behind if oldest_first else place < behind)
    order = (files.c.created_at, files.c.id)
    query = query.order_by(*(order if oldest_first else (column.desc() for column in order))).limit(limit)
    return [File(**row) for row in connection.execute(query).mappings()]


def remove(connection: Connection, tenant: str, file_id: str, now: datetime) -> None:
    """Raises NotFound, or Conflict while a batch that has not ended refers to the file."""
    get(connection, tenant, file_id, now)
    if connection.execute(select(files.c.id).where(files.c.id == file_id).with_for_update()).first() is None:
        raise _missing(file_id)  # somebody else was faster
    if not remove_unneeded(connection, file_id):
        raise Conflict(f"File '{file_id}' belongs to a batch that has not ended: wait for its end, or cancel it.")


def expired(connection: Connection, now: datetime, limit: int) -> Sequence[str]:
    """Files whose time is over and which no open batch needs, the longest expired first; locked for this
    transaction."""
    query = select(files.c.id).where(files.c.expires_at <= now, ~_is_needed()).order_by(files.c.expires_at)
    return list(connection.execute(query.limit(limit).with_for_update(skip_locked=True)).scalars())


def remove_unneeded(connection: Connection, file_id: str) -> bool:
    """Remove a file that is locked, unless an open batch needs it; whether it was removed.

    A batch that is being created waits for the lock, and one that was created before is seen from here.
    """
    return connection.execute(delete(files).where(files.c.id == file_id, ~_is_needed())).rowcount == 1


def _missing(file_id: str) -> NotFound:
    return NotFound(f"There is no file '{file_id}'.")


def _is_there(now: datetime) -> ColumnElement[bool]:
    return or_(files.c.expires_at.is_(None), files.c.expires_at > now)


def _is_needed() -> ColumnElement[bool]:
    return exists().where(
        is_open(),
        or_(
            batches.c.input_file_id == files.c.id,
            batches.c.output_file_id == files.c.id,
            batches.c.error_file_id == files.c.id,
        ),
    )
