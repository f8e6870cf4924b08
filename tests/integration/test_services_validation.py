from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from app.domain.batch import BatchStatus
from app.ports import Task
from app.services import batches, validation
from app.store.batches import Batch
from app.store.database import TENANT
from tests.support.factories import chat, line
from tests.support.services import Desk, Desks, jsonl
from tests.support.tokenizer import WordTokenizer

LIMIT = 1_000_000
GOOD = json.dumps(line("good")).encode()


def long_line(size: int, custom_id: str = "long") -> bytes:
    """A good line of exactly `size` bytes, line end not counted."""
    short = len(json.dumps(line(custom_id, text="")))
    return json.dumps(line(custom_id, text="x" * (size - short))).encode()


def with_body(**changes: Any) -> bytes:
    return json.dumps({**line("faulty"), "body": {**chat(), **changes}}).encode()


def faults(batch: Batch) -> list[tuple[str, int | None]]:
    return [(fault["code"], fault["line"]) for fault in batch.errors or ()]


def nothing_is_stored(desk: Desk) -> bool:
    return desk.rows("SELECT count(*) FROM requests") == [0] and desk.rows("SELECT count(*) FROM shards") == [0]


FAULTY = {
    "not JSON": (b"{not json}", "invalid_json_line", "write one JSON object per line"),
    "not UTF-8": (b'{"custom_id": "\xff"}', "invalid_json_line", "UTF-8"),
    "not an object": (b"[1, 2]", "invalid_json_line", "JSON object"),
    "two objects": (GOOD + GOOD, "invalid_json_line", "write one JSON object per line"),
    "NaN": (with_body(temperature=float("nan")), "invalid_json_line", "NaN"),
    "no custom_id": (b'{"method": "POST"}', "missing_required_parameter", "'custom_id' must be"),
    "numeric custom_id": (json.dumps({**line(), "custom_id": 7}).encode(), "invalid_custom_id", "'custom_id' must be"),
    "duplicate": (GOOD, "duplicate_custom_id", "already used in line 1: give every line its own"),
    "wrong method": (json.dumps({**line(), "method": "GET"}).encode(), "invalid_request", '"POST"'),
    "wrong url": (
        json.dumps({**line(), "url": "/v1/embeddings"}).encode(),
        "mismatched_url",
        "this batch is for /v1/chat/completions: give every line that url",
    ),
    "no body": (json.dumps({**line(), "body": None}).encode(), "invalid_request", "'body' must be a JSON object"),
    "no model": (with_body(model=None), "model_not_found", "name the model, such as test-model"),
    "another model": (with_body(model="gpt-5"), "mismatched_model", 'is "gpt-5" but the first line names "test-model"'),
    "no messages": (with_body(messages=[]), "invalid_request", "at least one message"),
    "message without text": (with_body(messages=[{"role": "user"}]), "invalid_request", "must be a string or a list"),
    "stream": (with_body(stream=True), "invalid_request", "remove it"),
    "unknown level": (with_body(metadata={"sprout_level": "L9"}), "invalid_request", "use auto or one of L0, L1, L2"),
    "odd workload": (with_body(metadata={"sprout_workload": "a b"}), "invalid_request", "use 1 to 64 letters"),
    "too long": (long_line(LIMIT + 1), "line_too_long", "shorten the prompt or split it"),
    "far too long": (long_line(3 * LIMIT), "line_too_long", "shorten the prompt or split it"),
    "longer than the context": (
        with_body(messages=[{"role": "user", "content": "word " * 3000}]),
        "context_length_exceeded",
        "has 3003 tokens and the model's context is 2048, answer included: shorten it",
    ),
}


@pytest.mark.parametrize(("raw", "code", "remedy"), FAULTY.values(), ids=FAULTY.keys())
def test_a_faulty_line_fails_the_batch(desk: Desk, raw: bytes, code: str, remedy: str) -> None:
    batch = desk.validated(GOOD + b"\n" + raw + b"\n")
    assert batch.status is BatchStatus.FAILED
    assert batch.failed_at == desk.clock.now()
    assert faults(batch) == [(code, 2)]
    assert batch.errors
    message = batch.errors[0]["message"]
    assert message.startswith("Line 2: ")
    assert remedy in message
    assert message.endswith(".")
    assert nothing_is_stored(desk)
    assert desk.dispatcher.arguments(Task.GENERATE) == []


@pytest.mark.parametrize("content", [b"\n", b"\n\n  \n\t\n", b"\r\n\r\n", b" "])
def test_a_file_of_blank_lines_has_no_requests(desk: Desk, content: bytes) -> None:
    batch = desk.validated(content)
    assert batch.status is BatchStatus.FAILED
    assert faults(batch) == [("empty_file", None)]
    assert batch.errors
    assert "write one JSON object per line" in batch.errors[0]["message"]


def test_every_faulty_line_of_a_mixed_file_is_reported(desk: Desk) -> None:
    content = [
        GOOD,
        b"{",
        b"",
        json.dumps(line("other")).encode(),
        GOOD,
        with_body(model="gpt-5"),
        long_line(LIMIT + 9),
    ]
    batch = desk.validated(b"\n".join(content))
    assert faults(batch) == [
        ("invalid_json_line", 2),
        ("duplicate_custom_id", 5),
        ("mismatched_model", 6),
        ("line_too_long", 7),
    ]
    assert nothing_is_stored(desk)
    assert batch.total == 0


@pytest.mark.parametrize(
    "raw", [b"{", b"x" * 5000, b"x" * 5000 + b"\n{"], ids=["broken lines", "long lines", "both in turn"]
)
def test_at_most_a_hundred_faults_are_reported(desks: Desks, raw: bytes) -> None:
    batch = desks.desk(max_line_bytes=4000).validated((raw + b"\n") * 150)
    assert [number for _, number in faults(batch)] == list(range(1, 101))


def test_a_line_of_the_longest_length_is_taken(desks: Desks) -> None:
    desks.tokenizer = WordTokenizer()
    desk = desks.desk()
    batch = desk.validated(
        long_line(LIMIT, "unix") + b"\n" + long_line(LIMIT, "windows") + b"\r\n" + long_line(LIMIT, "last")
    )
    assert batch.status is BatchStatus.IN_PROGRESS
    assert desk.rows("SELECT custom_id FROM requests ORDER BY line") == ["unix", "windows", "last"]


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
@pytest.mark.parametrize("last", [b"", b"\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "BOM"])
def test_files_as_editors_write_them(desk: Desk, ending: bytes, last: bytes, mark: bytes) -> None:
    batch = desk.validated(mark + ending.join([GOOD, b"", json.dumps(line("next", text="Grüße ☀")).encode()]) + last)
    assert batch.status is BatchStatus.IN_PROGRESS
    assert batch.total == 2
    stored = desk.rows("SELECT line, custom_id, body->'messages'->0->>'content' AS text FROM requests ORDER BY line")
    assert stored == [(1, "good", "Say hello."), (3, "next", "Grüße ☀")]


def test_shards_count_requests_not_lines(desks: Desks) -> None:
    desk = desks.desk(shard_size=2)
    content = b"\n\n".join(json.dumps(line(f"r{number}")).encode() for number in range(5))
    batch = desk.validated(content)
    assert batch.status is BatchStatus.IN_PROGRESS
    assert batch.in_progress_at == desk.clock.now()
    ranges = desk.rows("SELECT first_line, last_line FROM shards ORDER BY first_line")
    assert ranges == [(1, 3), (5, 7), (9, 9)]
    assert desk.dispatcher.arguments(Task.GENERATE) == desk.rows("SELECT id FROM shards ORDER BY first_line")


def test_a_body_is_stored_as_it_came(desk: Desk) -> None:
    body = chat('nul \0, quote ", backslash \\, tab \t', seed=2**53 + 1, extra={"z": 1, "a": [None, True, 1.5e-7]})
    desk.validated(jsonl([{**line(), "body": body}]))
    assert desk.rows("SELECT body FROM requests") == [body]


def test_a_second_validation_changes_nothing(desk: Desk) -> None:
    batch = desk.validated(jsonl([line()]))
    sent = list(desk.dispatcher.sent)
    desk.clock.advance(seconds=1)
    validation.validate(desk.context, batch.id)
    assert desk.batch(batch.id) == batch
    assert desk.rows("SELECT count(*) FROM requests") == [1]
    assert desk.dispatcher.sent == sent


def test_a_failed_batch_stays_failed(desk: Desk) -> None:
    batch = desk.validated(b"{")
    validation.validate(desk.context, batch.id)
    assert desk.batch(batch.id) == batch


def test_a_batch_that_nobody_knows_is_ignored(desk: Desk) -> None:
    validation.validate(desk.context, "batch_unknown")
    assert nothing_is_stored(desk)


def test_validators_at_once_store_every_request_once(desks: Desks) -> None:
    desk = desks.desk(shard_size=50)
    batch_id = desk.submit(jsonl(line(f"r{number}") for number in range(500)))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: validation.validate(desk.context, batch_id), range(4)))
    assert desk.batch(batch_id).total == 500
    assert desk.rows("SELECT count(*) FROM requests") == [500]
    assert desk.rows("SELECT count(*) FROM shards") == [10]


def test_a_cancelled_batch_is_not_validated(desk: Desk) -> None:
    batch_id = desk.submit(jsonl([line()]))
    batches.cancel(desk.context, TENANT, batch_id)
    validation.validate(desk.context, batch_id)
    assert desk.batch(batch_id).status is BatchStatus.CANCELLING
    assert nothing_is_stored(desk)


def test_a_lost_input_file_fails_the_batch(desk: Desk) -> None:
    batch_id = desk.submit(jsonl([line()]))
    desk.context.files.remove(desk.batch(batch_id).input_file_id)
    validation.validate(desk.context, batch_id)
    assert faults(desk.batch(batch_id)) == [("file_missing", None)]


JSON_FORM = {"response_format": {"type": "json_object"}}
TOOLS = {"tools": [{"type": "function", "function": {"name": "f"}}]}


@pytest.mark.parametrize(
    ("batch_metadata", "body", "workload", "pinned"),
    [
        (None, {}, "default", None),
        ({"sprout_level": "L2"}, {}, "default", 2),
        ({"sprout_level": "L2"}, {"metadata": {"sprout_level": "L1"}}, "default", 1),
        ({"sprout_level": "L2"}, {"metadata": {"sprout_level": "auto"}}, "default", None),
        (None, {"metadata": {"sprout_level": "0"}}, "default", 0),
        ({"sprout_workload": "mail"}, {}, "mail", None),
        ({"sprout_workload": "mail"}, {"metadata": {"sprout_workload": "chat"}}, "chat", None),
        (None, JSON_FORM, "default", 0),
        (None, TOOLS, "default", 0),
        (None, {"response_format": {"type": "text"}}, "default", None),
        ({"sprout_level": "L1"}, JSON_FORM, "default", 1),
        (None, {**JSON_FORM, "metadata": {"sprout_level": "auto"}}, "default", None),
        ({"sprout_level": "auto"}, TOOLS, "default", None),
    ],
)
def test_levels_and_workloads_follow_batch_and_line(
    desk: Desk, batch_metadata: Mapping[str, str] | None, body: Mapping[str, Any], workload: str, pinned: int | None
) -> None:
    desk.validated(jsonl([line(**body)]), metadata=batch_metadata)
    assert desk.rows("SELECT workload, pinned_level FROM requests") == [(workload, pinned)]


def test_every_workload_of_a_batch_has_a_mix(desk: Desk) -> None:
    desk.validated(jsonl(line(name, metadata={"sprout_workload": name}) for name in ("mail", "chat", "mail2")))
    assert desk.rows("SELECT workload FROM directive_mixes ORDER BY workload") == ["chat", "mail", "mail2"]


def test_a_cap_on_the_context_counts(desks: Desks) -> None:
    desk = desks.desk(max_context=100)
    batch = desk.validated(jsonl([line("short", text="word " * 90), line("long", text="word " * 100)]))
    assert faults(batch) == [("context_length_exceeded", 2)]


def test_prompts_of_a_remote_model_are_not_counted(desks: Desks) -> None:
    desks.tokenizer = None
    batch = desks.desk().validated(jsonl([line(text="word " * 3000)]))
    assert batch.status is BatchStatus.IN_PROGRESS
