from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, text

from app.domain.errors import Conflict
from app.domain.request import MAX_DEPTH, Request, RequestDefaults, parse_line
from app.store import requests, results
from app.store.database import Database
from tests.support.factories import ENDPOINT, a_request, a_result, chat, line, store_batch

AWKWARD = [
    "Grüße aus Αθήνα, 東京, 🌱👩‍🌾",
    "a\tb\nc\rd\x08\x0c\x0b\x1b\x7f",
    "\\ \\\\ \\n \\t \\N \\. \\u0041 \\x41",
    "'single' \"double\" `back` $1 %s %(name)s {braces} ; -- /* */",
    "\\.",
    "\\N",
    "NULL",
    "",
    " leading and trailing ",
    "\u2028\u2029\ufeff\u200b\u0000\uffff",
    "é vs e\u0301",
]


@pytest.mark.parametrize("awkward", AWKWARD)
def test_text_survives_copy(connection: Connection, awkward: str) -> None:
    body = chat(awkward, metadata={awkward: awkward})
    batch = store_batch(connection, lines=[a_request(1, body=body), a_request(2)])
    first, second = requests.unanswered(connection, batch.id, 1, 2)
    assert first.body == body
    assert second.body == a_request(2).body


@pytest.mark.parametrize("custom_id", ["Ä 🌱", "back\\slash", "\\N", "\\.", "'\"", "%s", "x" * 512])
def test_custom_ids_survive_copy(connection: Connection, custom_id: str) -> None:
    batch = store_batch(connection, lines=[a_request(1, custom_id=custom_id)])
    (found,) = requests.unanswered(connection, batch.id, 1, 1)
    assert found.custom_id == custom_id


def test_numbers_and_nesting_survive_copy(connection: Connection) -> None:
    deep: object = []
    for _ in range(MAX_DEPTH - 3):
        deep = [deep]
    body = chat(seed=2**63, temperature=0.1, big=10**400, small=1e-300, flags=[True, False, None], deep=deep)
    batch = store_batch(connection, lines=[a_request(1, body=body)])
    assert requests.unanswered(connection, batch.id, 1, 1)[0].body == body


def test_whatever_the_domain_accepts_can_be_stored(connection: Connection) -> None:
    defaults = RequestDefaults(endpoint=ENDPOINT, model=None, levels=3)
    raw = [json.dumps(line(f"request-{number}", text=awkward)).encode() for number, awkward in enumerate(AWKWARD)]
    entries = [parse_line(each, line=number, defaults=defaults) for number, each in enumerate(raw, 1)]
    batch = store_batch(connection, lines=entries)
    found = requests.unanswered(connection, batch.id, 1, len(AWKWARD))
    assert [request.body["messages"][0]["content"] for request in found] == AWKWARD


def test_every_field_is_stored(connection: Connection) -> None:
    entries = [a_request(3, workload="news", pinned_level=2), a_request(1, pinned_level=0), a_request(2)]
    batch = store_batch(connection, lines=entries)
    found = requests.unanswered(connection, batch.id, 1, 3)
    assert [(each.line, each.custom_id, each.workload, each.pinned_level) for each in found] == [
        (1, "request-1", "default", 0),
        (2, "request-2", "default", None),
        (3, "request-3", "news", 2),
    ]


def test_copy_counts_and_streams(connection: Connection) -> None:
    batch = store_batch(connection)
    taken = 0

    def entries() -> Iterator[Request]:
        nonlocal taken
        for number in range(1, 2001):
            taken += 1
            yield a_request(number)

    assert requests.copy_in(connection, tenant="default", batch_id=batch.id, entries=entries()) == taken == 2000
    assert requests.copy_in(connection, tenant="default", batch_id=batch.id, entries=[]) == 0


def test_a_reader_that_fails_stores_nothing(database: Database) -> None:
    def broken() -> Iterator[Request]:
        yield a_request(1)
        raise OSError("the disk is gone")

    with database.transaction() as connection:
        batch = store_batch(connection)
    with pytest.raises(OSError, match="the disk is gone"), database.transaction() as connection:
        requests.copy_in(connection, tenant="default", batch_id=batch.id, entries=broken())
    with database.transaction() as connection:
        assert requests.unanswered(connection, batch.id, 1, 9) == []


def test_a_custom_id_that_comes_twice_is_refused(connection: Connection) -> None:
    twice = [a_request(1), a_request(2, custom_id="request-1")]
    with pytest.raises(Conflict, match="custom_id comes twice"), connection.begin_nested():
        store_batch(connection, lines=twice)


def test_two_batches_may_use_the_same_custom_ids(connection: Connection) -> None:
    first, second = store_batch(connection, lines=2), store_batch(connection, lines=3)
    assert len(requests.unanswered(connection, first.id, 1, 9)) == 2
    assert len(requests.unanswered(connection, second.id, 1, 9)) == 3


def test_what_has_a_result_is_not_asked_again(connection: Connection) -> None:
    batch, other = store_batch(connection, lines=5), store_batch(connection, lines=5)
    answers = [a_result(batch, 2), a_result(batch, 4, status_code=400)]
    results.record(connection, [*answers])
    assert [found.line for found in requests.unanswered(connection, batch.id, 1, 5)] == [1, 3, 5]
    assert [found.line for found in requests.unanswered(connection, batch.id, 2, 4)] == [3]
    assert [found.line for found in requests.unanswered(connection, other.id, 1, 5)] == [1, 2, 3, 4, 5]


def test_the_body_is_kept_as_text_that_is_short(connection: Connection) -> None:
    batch = store_batch(connection, lines=[a_request(1, body={"model": "ä", "messages": [1, 2]})])
    query = text("SELECT body::text FROM requests WHERE batch_id = :batch")
    assert connection.execute(query, {"batch": batch.id}).scalar() == '{"model":"ä","messages":[1,2]}'


def test_the_text_of_a_body_is_kept_as_it_came(connection: Connection) -> None:
    came = b'{ "model":\t"\\u00e4\\n",  "messages": [1.50, 1e2], "a": 1, "a": 2 }'
    batch = store_batch(connection, lines=[a_request(1, body=json.loads(came), body_json=came)])
    query = text("SELECT body::text FROM requests WHERE batch_id = :batch")
    assert connection.execute(query, {"batch": batch.id}).scalar() == came.decode()
    assert requests.unanswered(connection, batch.id, 1, 1)[0].body == json.loads(came)


def test_requests_of_many_blocks_are_all_stored(connection: Connection) -> None:
    lines = [a_request(number, body=chat(f"{number} " + "long " * 5000)) for number in range(1, 31)]
    batch = store_batch(connection, lines=lines)
    assert [found.body for found in requests.unanswered(connection, batch.id, 1, 30)] == [one.body for one in lines]
