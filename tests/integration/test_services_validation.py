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
    assert desk.rows("SELECT count(*) FROM rejected_lines") == [0]
    return desk.rows("SELECT count(*) FROM requests") == [0] and desk.rows("SELECT count(*) FROM shards") == [0]


FAULTY = {
    "not JSON": (b"{not json}", "invalid_json_line", "write one JSON object per line"),
    "not UTF-8": (b'{"custom_id": "\xff"}', "invalid_json_line", "UTF-8"),
    "not an object": (b"[1, 2]", "invalid_line", "JSON object"),
    "two objects": (GOOD + GOOD, "invalid_json_line", "write one JSON object per line"),
    "NaN": (with_body(temperature=float("nan")), "invalid_json_line", "NaN"),
    "no custom_id": (b'{"method": "POST"}', "missing_required_parameter", "'custom_id' must be"),
    "numeric custom_id": (json.dumps({**line(), "custom_id": 7}).encode(), "invalid_custom_id", "'custom_id' must be"),
    "duplicate": (GOOD, "duplicate_custom_id", "already used in line 1: give every line its own"),
    "empty custom_id": (json.dumps({**line(), "custom_id": ""}).encode(), "invalid_custom_id", "1 to 512 printable"),
    "long custom_id": (json.dumps(line("x" * 513)).encode(), "invalid_custom_id", "1 to 512 printable"),
    "wrong method": (json.dumps({**line(), "method": "GET"}).encode(), "invalid_method", '"POST"'),
    "wrong url": (
        json.dumps({**line(), "url": "/v1/embeddings"}).encode(),
        "mismatched_url",
        "this batch is for /v1/chat/completions: give every line that url",
    ),
    "no body": (json.dumps({**line(), "body": None}).encode(), "invalid_body", "'body' must be a JSON object"),
    "no model": (with_body(model=None), "model_not_found", "name the model, such as test-model"),
    "unknown model": (with_body(model="gpt-5"), "model_not_found", 'no worker serves the model "gpt-5"'),
    "no messages": (with_body(messages=[]), "invalid_messages", "at least one message"),
    "message without text": (with_body(messages=[{"role": "user"}]), "invalid_messages", "must be a string or a list"),
    "stream": (with_body(stream=True), "stream_not_supported", "remove it"),
    "unknown level": (with_body(metadata={"sprout_level": "L9"}), "invalid_level", "use auto or one of L0, L1, L2"),
    "odd workload": (with_body(metadata={"sprout_workload": "a b"}), "invalid_workload", "use 1 to 64 letters"),
    "too long": (long_line(LIMIT + 1), "line_too_long", "shorten the prompt or split it"),
    "far too long": (long_line(3 * LIMIT), "line_too_long", "shorten the prompt or split it"),
    "longer than the context": (
        with_body(messages=[{"role": "user", "content": "word " * 3000}]),
        "context_length_exceeded",
        "has 3003 tokens and the model's context is 2048, answer included: shorten it",
    ),
}


@pytest.mark.parametrize(("raw", "code", "remedy"), FAULTY.values(), ids=FAULTY.keys())
def test_a_faulty_line_is_rejected_and_the_other_runs(desk: Desk, raw: bytes, code: str, remedy: str) -> None:
    batch = desk.validated(GOOD + b"\n" + raw + b"\n")
    assert (batch.status, batch.total, batch.rejected) == (BatchStatus.IN_PROGRESS, 2, 1)
    assert faults(batch) == [(code, 2)]
    assert batch.errors
    message = batch.errors[0]["message"]
    assert message.startswith("Line 2: ")
    assert remedy in message
    assert message.endswith(".")
    assert desk.rows("SELECT line, custom_id FROM requests") == [(1, "good")]
    assert desk.rows("SELECT line, code, message, tenant_id FROM rejected_lines") == [(2, code, message, TENANT)]


@pytest.mark.parametrize("name", [name for name in FAULTY if name not in ("duplicate", "unknown model")])
def test_a_file_without_a_line_that_can_be_used_fails(desk: Desk, name: str) -> None:
    raw, code, _ = FAULTY[name]
    batch = desk.validated(raw + b"\n\n" + raw)
    assert (batch.status, batch.failed_at) == (BatchStatus.FAILED, desk.clock.now())
    assert faults(batch) == [(code, 1), (code, 3)]
    assert (batch.total, batch.rejected) == (0, 0)
    assert nothing_is_stored(desk)
    assert desk.dispatcher.arguments(Task.GENERATE) == []


@pytest.mark.parametrize("content", [b"\n", b"\n\n  \n\t\n", b"\r\n\r\n", b" "])
def test_a_file_of_blank_lines_has_no_requests(desk: Desk, content: bytes) -> None:
    batch = desk.validated(content)
    assert batch.status is BatchStatus.FAILED
    assert faults(batch) == [("empty_file", None)]
    assert batch.errors
    assert "write one JSON object per line" in batch.errors[0]["message"]


def test_lines_around_faulty_ones_keep_their_numbers(desks: Desks) -> None:
    desk = desks.desk(shard_size=2)
    content = [
        b"{",
        GOOD,
        b"",
        json.dumps(line("other")).encode(),
        GOOD,
        with_body(model="gpt-5"),
        long_line(LIMIT + 9),
        json.dumps(line("third")).encode(),
    ]
    batch = desk.validated(b"\n".join(content))
    assert faults(batch) == [
        ("invalid_json_line", 1),
        ("duplicate_custom_id", 5),
        ("model_not_found", 6),
        ("line_too_long", 7),
    ]
    assert desk.rows("SELECT line, custom_id FROM requests ORDER BY line") == [(2, "good"), (4, "other"), (8, "third")]
    assert desk.rows("SELECT first_line, last_line, requests FROM shards ORDER BY first_line") == [(2, 4, 2), (8, 8, 1)]
    assert (batch.total, batch.rejected) == (7, 4)
    assert sum(kind["requests"] for kind in batch.composition) == 3


@pytest.mark.parametrize(
    "raw", [b"{", b"x" * 5000, b"x" * 5000 + b"\n{"], ids=["broken lines", "long lines", "both in turn"]
)
@pytest.mark.parametrize("last", [b"", GOOD], ids=["none to run", "one to run"])
def test_a_thousand_faults_are_shown_and_all_are_kept(desks: Desks, raw: bytes, last: bytes) -> None:
    desk = desks.desk(max_line_bytes=4000)
    batch = desk.validated((raw + b"\n") * 1100 + last)
    assert [number for _, number in faults(batch)] == list(range(1, 1001))
    number = 1100 * (raw.count(b"\n") + 1)
    if last:
        assert (batch.status, batch.total, batch.rejected) == (BatchStatus.IN_PROGRESS, number + 1, number)
    assert desk.rows("SELECT count(*) FROM rejected_lines") == [number if last else 0]


def test_blanks_longer_than_a_line_may_be_are_blank_only_to_their_end(desks: Desks) -> None:
    desk = desks.desk(max_line_bytes=1000)
    batch = desk.validated(b" " * 5000 + GOOD + b"\n" + GOOD + b"\n" + b" " * 900 + b"\n")
    assert faults(batch) == [("line_too_long", 1)]
    assert batch.total == 2


@pytest.mark.parametrize("excess", [b"{", GOOD], ids=["faulty", "good"])
def test_more_lines_than_allowed_fail_the_batch_and_leave_nothing(desks: Desks, excess: bytes) -> None:
    desk = desks.desk(max_requests=3)
    content = jsonl([line("a"), line("b")]) + b"\n\n{\n\n"
    assert desk.validated(content).status is BatchStatus.IN_PROGRESS
    before = desk.rows("SELECT count(*) FROM requests")
    batch = desk.validated(content + excess)
    assert (batch.status, batch.total, faults(batch)) == (BatchStatus.FAILED, 0, [("too_many_tasks", None)])
    assert batch.errors
    assert batch.errors[0]["message"] == (
        "The file has more than 3 requests: split it into several batches. SPROUT_MAX_REQUESTS sets the limit."
    )
    assert desk.rows("SELECT count(*) FROM requests") == before


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
    batch = desk.validated(jsonl([line("same", text="word " * 100), line("same", text="word " * 90), line("same")]))
    # What is too long to run does not use up its custom_id.
    assert faults(batch) == [("context_length_exceeded", 1), ("duplicate_custom_id", 3)]
    assert desk.rows("SELECT line, custom_id FROM requests") == [(2, "same")]
    assert desk.rows("SELECT line, custom_id FROM rejected_lines ORDER BY line") == [(1, "same"), (3, "same")]


def test_prompts_of_a_remote_model_are_not_counted(desks: Desks) -> None:
    desks.tokenizer = None
    batch = desks.desk().validated(jsonl([line(text="word " * 3000)]))
    assert batch.status is BatchStatus.IN_PROGRESS
