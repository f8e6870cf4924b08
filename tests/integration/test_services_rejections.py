"""A batch of which some lines are bad, from its validation to its files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from app.domain.batch import BatchStatus
from app.ports import Task
from app.services import batches, finalization, reconciliation, validation
from app.store.batches import Batch
from app.store.database import TENANT
from tests.support.api import Api
from tests.support.engine import EchoEngine
from tests.support.factories import chat, line
from tests.support.openai_server import HANG
from tests.support.services import Desk, Desks, jsonl


def entry(name: str, **changes: Any) -> bytes:
    return json.dumps({**line(name), **changes}).encode()


def body(name: str, **changes: Any) -> bytes:
    return entry(name, body={**chat(), **changes})


Kind = Callable[[str], bytes]

KINDS: Mapping[tuple[str, str | None], Kind] = {
    ("invalid_json_line", None): lambda name: f'{{"custom_id": "{name}", nonsense}}'.encode(),
    ("invalid_line", None): lambda name: json.dumps([name]).encode(),
    ("missing_required_parameter", "custom_id"): lambda name: json.dumps({"body": chat(name)}).encode(),
    ("invalid_custom_id", "custom_id"): lambda name: entry(""),
    ("duplicate_custom_id", "custom_id"): lambda name: entry("first"),
    ("invalid_method", "method"): lambda name: entry(name, method="GET"),
    ("mismatched_url", "url"): lambda name: entry(name, url="/v1/nothing"),
    ("invalid_body", "body"): lambda name: json.dumps({**line(name), "body": None}).encode(),
    ("model_not_found", "model"): lambda name: body(name, model="nobody"),
    ("stream_not_supported", "body.stream"): lambda name: body(name, stream=True),
    ("invalid_messages", "body.messages"): lambda name: body(name, messages=[]),
    ("line_too_long", None): lambda name: body(name, extra="x" * 21_000),
    ("context_length_exceeded", "messages"): lambda name: body(name, messages=chat("word " * 3000)["messages"]),
    ("invalid_level", "body.metadata.sprout_level"): lambda name: body(name, metadata={"sprout_level": "L9"}),
}
"""Lines of every kind that validation rejects, by code and param."""
NAMELESS = {"invalid_json_line", "invalid_line", "missing_required_parameter", "invalid_custom_id", "line_too_long"}
ROUNDS = 20


def mixed() -> bytes:
    """After every bad line of each kind a good one."""
    lines = [json.dumps(line("first")).encode()]
    for number in range(ROUNDS):
        for (code, _), bad in KINDS.items():
            lines += [bad(f"bad-{code}-{number}"), json.dumps(line(f"good-{code}-{number}")).encode(), b""]
    return b"\n".join(lines)


@pytest.fixture
def desk(desks: Desks) -> Desk:
    return desks.desk(max_line_bytes=20_000, shard_size=50)


def rejected(errors: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [each for each in errors if set(each["sprout"]) == {"line"}]


def test_every_good_line_is_answered_and_every_bad_one_told_with_its_cause(desk: Desk, engine: EchoEngine) -> None:
    batch = desk.validated(mixed())
    number = ROUNDS * len(KINDS)
    assert (batch.status, batch.total, batch.rejected) == (BatchStatus.IN_PROGRESS, 2 * number + 1, number)
    api = Api(desk.context)
    running = api.get(f"/v1/batches/{batch.id}")
    assert running["request_counts"] == {"total": 2 * number + 1, "completed": 0, "failed": number}
    shown = running["errors"]["data"]
    assert [(fault["code"], fault["param"]) for fault in shown] == list(KINDS) * ROUNDS
    assert [fault["line"] for fault in shown] == [2 + 3 * index for index in range(number)]

    desk.work(desk.worker(engine))

    ended = api.get(f"/v1/batches/{batch.id}")
    assert ended["status"] == "completed"
    assert ended["request_counts"] == {"total": 2 * number + 1, "completed": number + 1, "failed": number}
    assert ended["errors"]["data"] == shown
    answers, errors = desk.lines(ended["output_file_id"]), desk.lines(ended["error_file_id"])
    names = [f"{code}-{index}" for index in range(ROUNDS) for code, _ in KINDS]
    assert [answer["custom_id"] for answer in answers] == ["first", *(f"good-{name}" for name in names)]
    for error, fault, name in zip(errors, shown, names, strict=True):
        code = fault["code"]
        own = None if code in NAMELESS else "first" if code == "duplicate_custom_id" else f"bad-{name}"
        told = {"message": fault["message"], "type": "invalid_request_error", "param": fault["param"], "code": code}
        assert set(error) == {"id", "custom_id", "response", "error", "sprout"}
        assert (error["custom_id"], error["error"], error["sprout"]) == (own, None, {"line": fault["line"]})
        assert (error["response"]["status_code"], error["response"]["body"]) == (400, {"error": told})
        assert fault["message"].startswith(f"Line {fault['line']}: ")
    ids = [each["id"] for each in (*answers, *errors)] + [each["response"]["request_id"] for each in errors]
    assert len(set(ids)) == len(ids)
    # Nothing but the good lines was ever work.
    assert desk.rows("SELECT count(*) FROM requests") == desk.rows("SELECT count(*) FROM results") == [number + 1]


def validated(desk: Desk) -> Batch:
    return desk.validated(b"{\n" + jsonl([line("first"), line("first"), line("last")]))


def assert_told(desk: Desk, batch_id: str, code: str) -> None:
    """One line was answered, one was not, two were rejected."""
    ended = desk.batch(batch_id)
    assert (ended.total, ended.completed, ended.failed) == (4, 1, 3)
    errors = desk.lines(ended.error_file_id)
    causes = [error["error"] or error["response"]["body"]["error"] for error in errors]
    assert [cause["code"] for cause in causes] == ["invalid_json_line", "duplicate_custom_id", code]
    assert [each["sprout"]["line"] for each in rejected(errors)] == [1, 3]


def test_they_are_told_of_a_batch_that_is_cancelled_while_it_runs(desks: Desks, engine: EchoEngine) -> None:
    desk = desks.desk(shard_size=1)
    batch = validated(desk)
    desk.run_beside_others(desk.worker(engine), desk.dispatcher.arguments(Task.GENERATE)[0])
    cancelled, counts = batches.cancel(desk.context, TENANT, batch.id)
    assert (cancelled.status, counts.completed, counts.failed) == (BatchStatus.CANCELLING, 1, 2)
    finalization.finalize(desk.context, batch.id)
    assert desk.batch(batch.id).status is BatchStatus.CANCELLED
    assert_told(desk, batch.id, "batch_cancelled")


def test_they_are_told_of_a_batch_that_expires(desks: Desks, engine: EchoEngine) -> None:
    desk = desks.desk(shard_size=1)
    batch = validated(desk)
    desk.run_beside_others(desk.worker(engine), desk.dispatcher.arguments(Task.GENERATE)[0])
    desk.clock.advance(hours=25)
    reconciliation.reconcile(desk.context)
    finalization.finalize(desk.context, batch.id)
    assert desk.batch(batch.id).status is BatchStatus.EXPIRED
    assert_told(desk, batch.id, "batch_expired")


def test_a_request_that_runs_too_long_is_an_error_without_a_response(desks: Desks, engine: EchoEngine) -> None:
    desk = desks.desk(request_timeout_s=0.2)
    batch = desk.validated(jsonl([line("slow", text=HANG), line("quick")]))
    desk.work(desk.worker(engine))
    ended = desk.batch(batch.id)
    assert (ended.status, ended.completed, ended.failed) == (BatchStatus.COMPLETED, 1, 1)
    (error,) = desk.lines(ended.error_file_id)
    assert (error["custom_id"], error["response"]) == ("slow", None)
    assert set(error["error"]) == {"code", "message"}
    assert error["error"]["code"] == "request_timeout"
    assert "longer than 0.2 s" in error["error"]["message"]
    # What it used is in the ledger all the same.
    assert desk.rows("SELECT status_code, energy_j > 0, intensity_basis <> '' FROM results WHERE line = 1") == [
        (None, True, True)
    ]


def test_validators_at_once_reject_every_line_once(desk: Desk) -> None:
    batch_id = desk.submit(mixed())
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: validation.validate(desk.context, batch_id), range(4)))
    assert desk.batch(batch_id).rejected == ROUNDS * len(KINDS)
    assert desk.rows("SELECT count(*) FROM rejected_lines") == [ROUNDS * len(KINDS)]


def test_a_batch_that_is_cancelled_while_it_is_validated_keeps_none(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch_id = desk.submit(b"{\n" + jsonl([line()]))
    copy_in = validation.rejections.copy_in

    def cancelled_meanwhile(*args: Any, **options: Any) -> int:
        batches.cancel(desk.context, TENANT, batch_id)
        return copy_in(*args, **options)

    monkeypatch.setattr(validation.rejections, "copy_in", cancelled_meanwhile)
    validation.validate(desk.context, batch_id)
    assert desk.rows("SELECT count(*) FROM rejected_lines") == desk.rows("SELECT count(*) FROM requests") == [0]
    finalization.finalize(desk.context, batch_id)
    ended = desk.batch(batch_id)
    assert (ended.status, ended.total, ended.failed, ended.error_file_id) == (BatchStatus.CANCELLED, 0, 0, None)


def test_odd_text_in_a_bad_line_is_told_and_stored(desk: Desk) -> None:
    odd = [
        entry("good"),
        entry("a", method="\0\t\\N"),
        entry("b", url='"\\.\n'),
        entry("☀\\N\\.", method="GET"),
        body("c", metadata={"sprout_level": "\0" * 100}),
        body("d", messages=[{"role": "user", "content": [{"type": "\0"}]}]),
        body("e", model="\0"),
        b'{"custom_id": "f\0", "method": "GET"}',
        b"\0",
    ]
    batch = desk.validated(b"\n".join(odd))
    assert (batch.status, batch.rejected) == (BatchStatus.IN_PROGRESS, 8)
    names = desk.rows("SELECT custom_id FROM rejected_lines ORDER BY line")
    assert names == ["a", "b", "☀\\N\\.", "c", "d", "e", None, None]
    assert desk.rows("SELECT message FROM rejected_lines ORDER BY line") == [
        fault["message"] for fault in batch.errors or ()
    ]
