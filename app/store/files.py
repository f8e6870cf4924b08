"""Files: a row here, the bytes in the file store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, exists, insert, or_, select, tuple_

from app.domain.errors import Conflict, NotFound
from app.store.tables import batches, files


@dataclass(frozen=True, kw_only=True)
class File:
    id: str
    tenant_id: str
    purpose: str
    filename: str
    bytes: int
    created_at: datetime


def add(connection: Connection, file: File) -> None:
    connection.execute(insert(files).values(**vars(file)))


def get(connection: Connection, tenant: str, file_id: str) -> File:
    """Raises NotFound."""
    row = connection.execute(select(files).where(files.c.tenant_id == tenant, files.c.id == file_id)).mappings().first()
    if row is None:
        raise NotFound(f"There is no file '{file_id}'.")
    return File(**row)


def newest(
    connection: Connection, tenant: str, *, purpose: str | None, after: str | None, limit: int
) -> Sequence[File]:
    """Newest first, starting behind the file `after`. Raises NotFound if `after` is not there."""
    query = select(files).where(files.c.tenant_id == tenant)
    if purpose:
        query = query.where(files.c.purpose == purpose)
    if after is not None:
        edge = get(connection, tenant, after)
        query = query.where(tuple_(files.c.created_at, files.c.id) < (edge.created_at, edge.id))
    query = query.order_by(files.c.created_at.desc(), files.c.id.desc()).limit(limit)
    return [File(**row) for row in connection.execute(query).mappings()]


def remove(connection: Connection, tenant: str, file_id: str) -> None:
    """Raises NotFound, or Conflict while a batch refers to the file."""
    get(connection, tenant, file_id)
    used = or_(
        batches.c.input_file_id == file_id, batches.c.output_file_id == file_id, batches.c.error_file_id == file_id
    )
    if connection.execute(select(exists().where(used))).scalar():
        raise Conflict(f"File '{file_id}' belongs to a batch: it stays as long as the batch does.")
    connection.execute(delete(files).where(files.c.id == file_id))
