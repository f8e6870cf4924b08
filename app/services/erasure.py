"""Erasing a batch or a tenant: every row that names it and every file of it, piece by piece."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from sqlalchemy import Connection

from app.domain.errors import Conflict, NotFound
from app.ports import Task
from app.services.context import Context
from app.services.dispatch import ring
from app.store import batches, erasure
from app.store.tables import files

ROWS = 1000
"""Of a piece."""

AT_ONCE = 50
"""Pieces that a call removes itself; the tick takes the rest."""


@dataclass(frozen=True, kw_only=True)
class Erased:
    batch_id: str
    complete: bool
    """Whether everything is gone by now; else what is left goes within the next ticks."""
    kept_input: str | None
    """Why its input file stays: another batch has it too."""


def erase_batch(context: Context, tenant: str, batch_id: str) -> Erased:
    """Erase a batch; one that runs is stopped. From here on nobody sees it.

    Raises:
        NotFound: no such batch.
        Conflict: it is being validated, or its files are being written.
    """
    with context.database.transaction() as connection:
        batches.get(connection, tenant, batch_id)
        if not batches.claim(connection, batch_id):
            raise Conflict(f"Batch '{batch_id}' is being read or written just now: erase it again in a minute.")
        user = erasure.other_user(connection, batch_id)
        _begin(context, connection, batch_id)
    # One that does not end within these pieces is gone on with by the tick.
    complete = sum(1 for _ in islice(_batch(context, batch_id), AT_ONCE)) < AT_ONCE
    ring(context, Task.DISCOVER, "erased")
    kept = f"Batch '{user[1]}' has the input file '{user[0]}' too: it stays until that is erased." if user else None
    return Erased(batch_id=batch_id, complete=complete, kept_input=kept)


def _begin(context: Context, connection: Connection, batch_id: str) -> None:
    for file_id in erasure.begin(connection, batch_id, context.clock.now()):
        # Before the rows are gone for good: bytes that nothing names would stay for ever.
        context.files.remove(file_id)


def go_on(context: Context) -> Iterator[None]:
    """Go on erasing what was begun, a piece between two steps."""
    with context.database.transaction() as connection:
        found = erasure.begun(connection, ROWS)
    for batch_id in found:
        yield from _batch(context, batch_id)


def erase_tenant(context: Context, tenant: str) -> int:
    """Erase all that is of a tenant, running batches too; about how many rows went.

    Its keys go first, so that nothing more comes in; its own row, with its limits, stays. Returns when nothing is left;
    called again after it was cut off, it goes on.

    Raises:
        NotFound: nothing is of such a tenant.
    """
    with context.database.transaction() as connection:
        removed = erasure.remove_keys(connection, tenant)
    _stop_all(context, tenant)
    removed += sum(_tenant(context, tenant))
    if not removed:
        raise NotFound(f"There is nothing of a tenant '{tenant}'.")
    return removed


def _stop_all(context: Context, tenant: str) -> None:
    after = ""
    while True:
        with context.database.transaction() as connection:
            found = erasure.batches_of(connection, tenant, after=after, limit=ROWS)
        if not found:
            return
        for batch_id in found:
            with context.database.transaction() as connection:
                erasure.claim(connection, batch_id)
                _begin(context, connection, batch_id)
        after = found[-1]


def _tenant(context: Context, tenant: str) -> Iterator[int]:
    """Rows that went, piece by piece; a piece of a batch counts as one."""
    while True:
        with context.database.transaction() as connection:
            found = erasure.batches_of(connection, tenant, after="", limit=ROWS)
        for batch_id in found:
            for _ in _batch(context, batch_id):
                yield 1
        if not found:
            break
    for table in erasure.tables_with("tenant_id"):
        removed = ROWS
        while removed:
            with context.database.transaction() as connection:
                if table is files:
                    # Uploaded, and never used by a batch.
                    removed = _remove_files(context, connection, tenant)
                else:
                    removed = erasure.remove_rows(connection, table, "tenant_id", tenant, ROWS)
            yield removed


def _remove_files(context: Context, connection: Connection, tenant: str) -> int:
    found = erasure.files_of(connection, tenant, ROWS)
    for file_id in found:
        context.files.remove(file_id)
    erasure.remove_files(connection, found)
    return len(found)


def _batch(context: Context, batch_id: str) -> Iterator[None]:
    """Remove a hidden batch, a piece between two steps: what names it first, and at last its own row."""
    for table in erasure.tables_with("batch_id"):
        while True:
            with context.database.transaction() as connection:
                removed = erasure.remove_rows(connection, table, "batch_id", batch_id, ROWS)
            if removed:
                yield
            if removed < ROWS:
                break
    with context.database.transaction() as connection:
        erasure.remove_batch(connection, batch_id)
    yield
