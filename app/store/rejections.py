"""Rejected lines: what validation found wrong with them. Shards, leases and the ledger know nothing of these lines."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Select, select, update

from app.domain.rejection import Rejection
from app.store.tables import batches, rejected_lines

_SHOWN = tuple(rejected_lines.c[name] for name in ("line", "custom_id", "code", "param", "message"))


FORGOTTEN = "Its text is no longer kept."


def copy_in(connection: Connection, *, tenant: str, batch_id: str, entries: Iterable[Rejection]) -> int:
    """Stream rejected lines into the table with COPY; returns how many."""
    columns = ("batch_id", "tenant_id", *(column.name for column in _SHOWN))
    # Begins the transaction, if nothing has.
    connection.exec_driver_sql("SELECT 1")
    driver: Any = connection.connection.driver_connection
    number = 0
    with driver.cursor() as cursor, cursor.copy(f"COPY rejected_lines ({', '.join(columns)}) FROM STDIN") as copy:
        for entry in entries:
            copy.write_row((batch_id, tenant, entry.line, entry.custom_id, entry.code, entry.param, entry.message))
            number += 1
    return number


def _of(batch_id: str) -> Select[Any]:
    return select(*_SHOWN).where(rejected_lines.c.batch_id == batch_id).order_by(rejected_lines.c.line)


def first(connection: Connection, batch_id: str, limit: int) -> Sequence[Rejection]:
    """The first `limit` of a batch, in line order."""
    return [Rejection(**row) for row in connection.execute(_of(batch_id).limit(limit)).mappings()]


def behind(connection: Connection, batch_id: str, line: int, limit: int) -> Sequence[Rejection]:
    """The first `limit` of a batch behind a line, in line order."""
    query = _of(batch_id).where(rejected_lines.c.line > line).limit(limit)
    return [Rejection(**row) for row in connection.execute(query).mappings()]


def in_line_order(connection: Connection, batch_id: str) -> Generator[Rejection, None, None]:
    """All of a batch, streamed; close it when not all of them are taken."""
    with connection.execute(_of(batch_id).execution_options(yield_per=500)) as found:
        for row in found.mappings():
            yield Rejection(**row)


def forget_messages(connection: Connection, batch_id: str) -> None:
    """Of what was wrong keep line, code and parameter only: a message may cite the line."""
    of_batch = rejected_lines.c.batch_id == batch_id
    connection.execute(update(rejected_lines).where(of_batch).values(message=FORGOTTEN))
    told = connection.execute(select(batches.c.errors).where(batches.c.id == batch_id)).scalar()
    if told:
        forgotten = [{**fault, "message": FORGOTTEN} for fault in told]
        connection.execute(update(batches).where(batches.c.id == batch_id).values(errors=forgotten))
