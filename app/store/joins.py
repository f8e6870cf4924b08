"""Joins of the lines of a batch, in time that grows with their number."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, text


@contextmanager
def joining_whole(connection: Connection) -> Iterator[None]:
    """What is executed in the block joins all rows at once, by merging or hashing.

    PostgreSQL's statistics know nothing of a batch that came after they were gathered, and take it for a single row. It
    then joins by going through all of the batch once for each line: 10 000 lines took 15 s to write, and not 0.3.
    """
    connection.execute(text("SET LOCAL enable_nestloop = off"))
    yield
    # After an exception the transaction is rolled back, and this with it.
    connection.execute(text("SET LOCAL enable_nestloop = on"))
