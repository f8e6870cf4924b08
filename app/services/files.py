"""Uploading, reading and deleting files."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import BinaryIO, NamedTuple

from app.domain.errors import InvalidInput, TooLarge
from app.services.context import Context
from app.store import files
from app.store.files import File
from app.store.ids import new_id

log = logging.getLogger(__name__)

MOST_EXPIRED = 1000
"""Files that one tick removes, so that it does not take long."""


class Described(NamedTuple):
    """What is said of a file that is uploaded."""

    filename: str
    purpose: str
    expires_after: timedelta | None = None


def upload(context: Context, tenant: str, *, chunks: Iterable[bytes], describe: Callable[[], Described]) -> File:
    """Store an input file.

    Args:
        describe: asked when all chunks have been taken: a form may say it last.

    Raises:
        InvalidInput: another purpose than `batch`, or an empty file.
        TooLarge: over SPROUT_MAX_FILE_BYTES.
    """
    limit = context.settings.max_file_bytes
    file_id, size = new_id("file-"), 0
    with context.files.create(file_id) as target:
        for chunk in chunks:
            size += len(chunk)
            if size > limit:
                raise TooLarge(f"The file is larger than {limit} bytes: split it into several batches.", param="file")
            target.write(chunk)
        said = describe()
        if said.purpose != "batch":
            raise InvalidInput(f"Invalid value: '{said.purpose}'. Supported values are: 'batch'.", param="purpose")
        if size == 0:
            raise InvalidInput("The file is empty: it needs one request per line.", param="file", code="empty_file")
    now = context.clock.now()
    file = File(
        id=file_id,
        tenant_id=tenant,
        purpose=said.purpose,
        filename=said.filename,
        bytes=size,
        created_at=now,
        expires_at=None if said.expires_after is None else now + said.expires_after,
    )
    try:
        with context.database.transaction() as connection:
            files.add(connection, file)
    except BaseException:
        context.files.remove(file_id)
        raise
    return file


def get(context: Context, tenant: str, file_id: str) -> File:
    """Raises NotFound."""
    with context.database.transaction() as connection:
        return files.get(connection, tenant, file_id, context.clock.now())


def content(context: Context, tenant: str, file_id: str) -> tuple[File, BinaryIO]:
    """A file, and its bytes to read. Raises NotFound."""
    file = get(context, tenant, file_id)
    return file, context.files.open(file_id)


def delete(context: Context, tenant: str, file_id: str) -> None:
    """Raises NotFound, or Conflict while a batch that has not ended refers to the file."""
    with context.database.transaction() as connection:
        files.remove(connection, tenant, file_id, context.clock.now())
        # Before the row is gone for good: bytes that nothing names would stay for ever.
        context.files.remove(file_id)


def remove_expired(context: Context) -> None:
    """Delete files whose time is over, with their bytes; what a batch still needs stays until it has ended."""
    with context.database.transaction() as connection:
        for file_id in files.expired(connection, context.clock.now(), MOST_EXPIRED):
            try:
                with connection.begin_nested():
                    if files.remove_unneeded(connection, file_id):
                        context.files.remove(file_id)
            except OSError:
                # It must not keep the others; the next tick tries again.
                log.exception("the expired file %s cannot be removed", file_id)


def page(
    context: Context,
    tenant: str,
    *,
    purpose: str | None,
    after: str | None,
    limit: int,
    oldest_first: bool = False,
) -> tuple[Sequence[File], bool]:
    """A page of files, newest first unless `oldest_first`, and whether more follow.

    Raises NotFound if `after` is not there.
    """
    with context.database.transaction() as connection:
        found = files.page(
            connection,
            tenant,
            context.clock.now(),
            purpose=purpose,
            after=after,
            limit=limit + 1,
            oldest_first=oldest_first,
        )
    return found[:limit], len(found) > limit
