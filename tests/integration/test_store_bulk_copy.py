from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import Connection

from app.domain.errors import Conflict
from app.domain.request import Request
from app.store import requests
from app.store.bulk_copy import AHEAD_BYTES, COPY_BYTES
from app.store.database import TENANT, Database
from tests.support.factories import a_request, chat, store_batch

LONG = "x" * 100_000
ENOUGH = 3 * (COPY_BYTES + AHEAD_BYTES) // len(LONG)
"""Requests for several COPYs, of more than can wait to be sent."""


def long_requests(number: int = ENOUGH) -> Iterator[Request]:
    return (a_request(line, body=chat(f"{line} {LONG}")) for line in range(1, number + 1))


def test_rows_of_several_copies_are_all_stored(connection: Connection) -> None:
    batch = store_batch(connection)
    assert requests.copy_in(connection, tenant=TENANT, batch_id=batch.id, entries=long_requests()) == ENOUGH
    stored = "SELECT count(DISTINCT line), count(DISTINCT body->'messages'->0->>'content') FROM requests"
    assert connection.exec_driver_sql(stored).one() == (ENOUGH, ENOUGH)


@pytest.mark.parametrize("again", [2, ENOUGH // 2, ENOUGH + 1], ids=["at once", "in between", "at the end"])
def test_what_is_wrong_with_a_row_is_told_and_the_savepoint_stands(connection: Connection, again: int) -> None:
    batch = store_batch(connection)

    def entries() -> Iterator[Request]:
        for entry in long_requests():
            if entry.line == again:
                yield a_request(ENOUGH + 10, custom_id="request-1")
            yield entry
        if again > ENOUGH:
            yield a_request(ENOUGH + 10, custom_id="request-1")

    with pytest.raises(Conflict), connection.begin_nested():
        requests.copy_in(connection, tenant=TENANT, batch_id=batch.id, entries=entries())
    assert requests.unanswered(connection, batch.id, 1, 2 * ENOUGH) == []
    assert requests.copy_in(connection, tenant=TENANT, batch_id=batch.id, entries=[a_request(1)]) == 1


@pytest.mark.parametrize("good", [0, 1, ENOUGH // 2, ENOUGH])
def test_rows_that_cannot_be_made_leave_the_savepoint_standing(connection: Connection, good: int) -> None:
    batch = store_batch(connection)

    def broken() -> Iterator[Request]:
        yield from long_requests(good)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"), connection.begin_nested():
        requests.copy_in(connection, tenant=TENANT, batch_id=batch.id, entries=broken())
    assert requests.unanswered(connection, batch.id, 1, ENOUGH) == []


def test_a_batch_that_is_not_there_is_refused(connection: Connection) -> None:
    with pytest.raises(psycopg.errors.ForeignKeyViolation), connection.begin_nested():
        requests.copy_in(connection, tenant=TENANT, batch_id="batch_none", entries=[a_request(1)])


def test_copying_is_part_of_the_transaction_even_when_it_begins_it(database: Database) -> None:
    def broken() -> Iterator[Request]:
        yield from long_requests()
        raise OSError("the disk is gone")

    with database.transaction() as connection:
        batch = store_batch(connection)
    with pytest.raises(OSError, match="the disk is gone"), database.transaction() as connection:
        requests.copy_in(connection, tenant=TENANT, batch_id=batch.id, entries=broken())
    with database.transaction() as connection:
        assert requests.unanswered(connection, batch.id, 1, ENOUGH) == []
