"""Uploading, reading and deleting files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from app.domain.errors import InvalidInput
from app.services.context import Context
from app.store import files
from app.store.files import File
from app.store.ids import new_id


def upload(context: Context, tenant: str, *, chunks: Iterable[bytes], names: Callable[[], tuple[str, str]]) -> File:
    """Store an input file.

    Args:
        names: its file name and purpose, asked for when all chunks have been taken: a form may say them last.

    Raises:
        InvalidInput: another purpose than `batch`, an empty file, or one over SPROUT_MAX_FILE_BYTES.
    """
    limit = context.settings.max_file_bytes
    file_id, size = new_id("file-"), 0
    with context.files.create(file_id) as target:
        for chunk in chunks:
            size += len(chunk)
            if size > limit:
                raise InvalidInput(
                    f"The file is larger than {limit} bytes: split it into several batches.", param="file"
                )
            target.write(chunk)
        filename, purpose = names()
        if purpose != "batch":
            raise InvalidInput(f"Invalid value: '{purpose}'. Supported values are: 'batch'.", param="purpose")
        if size == 0:
            raise InvalidInput("The file is empty: it needs one request per line.", param="file", code="empty_file")
    file = File(
        id=file_id,
        tenant_id=tenant,
        purpose=purpose,
        filename=filename,
        bytes=size,
        created_at=context.clock.now(),
    )
    try:
        with context.database.transaction() as connection:
            files.add(connection, file)
    except BaseException:
        context.files.remove(file_id)
        raise
    return file


def content(context: Context, tenant: str, file_id: str) -> tuple[File, Path]:
    """Raises NotFound."""
    with context.database.transaction() as connection:
        file = files.get(connection, tenant, file_id)
    return file, context.files.path(file_id)


def delete(context: Context, tenant: str, file_id: str) -> None:
    """Raises NotFound, or Conflict while a batch refers to the file."""
    with context.database.transaction() as connection:
        files.remove(connection, tenant, file_id)
    context.files.remove(file_id)


def newest(
    context: Context, tenant: str, *, purpose: str | None, after: str | None, limit: int
) -> tuple[Sequence[File], bool]:
    """A page of files, newest first, and whether more follow. Raises NotFound if `after` is not there."""
    with context.database.transaction() as connection:
        found = files.newest(connection, tenant, purpose=purpose, after=after, limit=limit + 1)
    return found[:limit], len(found) > limit
