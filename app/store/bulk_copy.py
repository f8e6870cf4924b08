"""COPY into a table that goes on while its rows are still being made."""

from __future__ import annotations

import select
from enum import Enum, auto
from types import TracebackType
from typing import Any, Self

from psycopg import pq
from psycopg.errors import error_from_result
from sqlalchemy import Connection

COPY_BYTES = 1 << 22
"""Of one COPY; the next one follows. PostgreSQL checks foreign keys at the end of each."""
AHEAD_BYTES = 1 << 22
"""Most that waits to be sent."""


class _State(Enum):
    IDLE = auto()
    COPYING = auto()
    ENDING = auto()
    """All is sent, and the server has yet to say that it is stored."""


class BulkCopy:
    """`with BulkCopy(connection, statement) as copy: copy.write(block)`, each block being whole rows.

    `write` hands over to the socket what it takes and returns, unless too much is waiting. psycopg's own copy waits
    while the server checks foreign keys at the end, which was a third of its time (docs/experiments.md). What was
    written before an exception is only undone with the transaction or to a savepoint.

    Args:
        start: what a COPY's data begin with.
        end: and what they end with.

    Raises:
        psycopg.Error: from `write` or at the end, what PostgreSQL says against the rows.
    """

    def __init__(self, connection: Connection, statement: str, *, start: bytes, end: bytes) -> None:
        # Begins the transaction: the driver's own commands, which would do so, are not used from here on.
        connection.exec_driver_sql("SELECT 1")
        driver: Any = connection.connection.driver_connection
        self._server: pq.abc.PGconn = driver.pgconn
        self._statement = statement.encode()
        self._start, self._end = start, end
        self._state = _State.IDLE
        self._waiting: list[bytes] = []
        self._copied = 0
        self._ahead = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if exc is None:
            self._flush_waiting()
            return
        if self._state is _State.COPYING:
            self._server.put_copy_end(b"the rows could not be made")
        if self._state is not _State.IDLE:
            self._results()  # the exception that is under way says more than they do

    def write(self, block: bytes) -> None:
        self._waiting.append(block)
        self._ahead += len(block)
        if self._state is _State.ENDING and (self._ahead >= AHEAD_BYTES or self._has_ended()):
            self._conclude()
        if self._state is not _State.ENDING:
            self._send()

    def _flush_waiting(self) -> None:
        if self._state is _State.ENDING:
            self._conclude()
        if self._waiting:
            self._send()
        if self._state is _State.COPYING:
            self._finish()
        if self._state is _State.ENDING:
            self._conclude()

    def _send(self) -> None:
        if self._state is _State.IDLE:
            self._begin()
        for block in self._waiting:
            self._server.put_copy_data(block)
            self._copied += len(block)
        self._waiting.clear()
        if self._server.flush() == 0:
            self._ahead = 0
        elif self._ahead >= AHEAD_BYTES:
            self._drain()
        if self._copied >= COPY_BYTES:
            self._finish()

    def _begin(self) -> None:
        result = self._server.exec_(self._statement)
        if result.status != pq.ExecStatus.COPY_IN:
            raise error_from_result(result)
        self._server.put_copy_data(self._start)
        self._state, self._copied = _State.COPYING, 0

    def _finish(self) -> None:
        self._server.put_copy_data(self._end)
        self._server.put_copy_end()
        self._state = _State.ENDING

    def _has_ended(self) -> bool:
        self._server.flush()
        self._server.consume_input()
        return not self._server.is_busy()

    def _conclude(self) -> None:
        """Raises psycopg.Error, of its most specific kind."""
        for result in self._results():
            if result.status != pq.ExecStatus.COMMAND_OK:
                raise error_from_result(result)

    def _results(self) -> list[pq.abc.PGresult]:
        """Waits for the end of this COPY."""
        self._drain()
        found = []
        while True:
            while self._server.is_busy():
                self._wait(select.POLLIN)
                self._server.consume_input()
            result = self._server.get_result()
            if result is None:
                break
            found.append(result)
        self._state = _State.IDLE
        return found

    def _drain(self) -> None:
        """Waits until the socket has taken all that was written."""
        while self._server.flush():
            self._wait(select.POLLIN | select.POLLOUT)
            self._server.consume_input()
        self._ahead = 0

    def _wait(self, events: int) -> None:
        poll = select.poll()
        poll.register(self._server.socket, events)
        poll.poll()
