from __future__ import annotations

import json

import pytest

from app.domain.batch import BatchStatus
from app.ports import Task
from app.services import batches, finalization, generation
from app.store.database import TENANT
from tests.support.engine import EchoEngine
from tests.support.factories import a_result, line, store_batch, store_mix
from tests.support.services import Desk, jsonl

SPROUT_KEYS = {
    "workload", "level", "probability", "pinned", "cached",
    "prompt_tokens", "completion_tokens", "energy_j", "energy_basis",
    "device_s", "intensity_g_per_kwh", "intensity_basis", "intensity_origin", "operational_g", "embodied_g",
    "footprint_g", "zone", "finished_at", "l0_energy_j", "l0_footprint_g", "saved_g", "pricing",
}  # fmt: skip


def answered(desk: Desk, engine: EchoEngine) -> str:
    """A batch of five lines, two of which the engine refuses, that waits for its files."""
    lines = [line(f"z{9 - n}", text=text) for n, text in enumerate(["one", "[refuse]", "thrée", "[refuse]", "five"])]
    batch = desk.validated(jsonl(lines))
    generation.run_shard(desk.context, desk.worker(engine), desk.dispatcher.arguments(Task.GENERATE)[0])
    return batch.id


def test_answers_and_errors_go_to_files_of_their_own(desk: Desk, engine: EchoEngine) -> None:
    batch_id = answered(desk, engine)
    desk.clock.advance(seconds=5)
    finalization.finalize(desk.context, batch_id)
    ended = desk.batch(batch_id)
    assert (ended.status, ended.completed_at) == (BatchStatus.COMPLETED, desk.clock.now())
    assert (ended.total, ended.completed, ended.failed, ended.model) == (5, 3, 2, "test-model")
    good, bad = desk.lines(ended.output_file_id), desk.lines(ended.error_file_id)
    assert [entry["custom_id"] for entry in good] == ["z9", "z7", "z5"], "not in the order of the input"
    assert [entry["custom_id"] for entry in bad] == ["z8", "z6"]
    for entry in [*good, *bad]:
        assert set(entry) == {"id", "custom_id", "response", "error", "sprout"}
        assert set(entry["response"]) == {"status_code", "request_id", "body"}
        assert set(entry["sprout"]) == SPROUT_KEYS
        assert entry["error"] is None
    assert {entry["response"]["status_code"] for entry in good} == {200}
    assert {entry["response"]["status_code"] for entry in bad} == {400}
    assert set(bad[0]["response"]["body"]["error"]) == {"message", "type", "param", "code"}
    assert len({entry["id"] for entry in [*good, *bad]}) == 5
    assert ended.usage == {
        "input_tokens": 3,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 3,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 6,
    }
    assert "thrée" in desk.content(ended.output_file_id).decode()


def test_files_are_listed_with_their_true_size(desk: Desk, engine: EchoEngine) -> None:
    batch_id = answered(desk, engine)
    finalization.finalize(desk.context, batch_id)
    stored = desk.rows("SELECT id, bytes, filename FROM files WHERE purpose = 'batch_output'")
    assert {name for _, _, name in stored} == {f"{batch_id}_output.jsonl", f"{batch_id}_error.jsonl"}
    for file_id, size, _ in stored:
        assert len(desk.content(file_id)) == size


@pytest.mark.parametrize("refuse", [False, True])
def test_a_file_without_lines_does_not_exist(desk: Desk, engine: EchoEngine, refuse: bool) -> None:
    batch = desk.validated(jsonl([line(text="[refuse]" if refuse else "fine")]))
    desk.work(desk.worker(engine))
    ended = desk.batch(batch.id)
    assert ended.status is BatchStatus.COMPLETED
    assert (ended.output_file_id is None, ended.error_file_id is None) == (refuse, not refuse)
    assert desk.stored_files() == {ended.input_file_id, ended.output_file_id or ended.error_file_id}


def test_finalizing_twice_is_once(desk: Desk, engine: EchoEngine) -> None:
    batch_id = answered(desk, engine)
    finalization.finalize(desk.context, batch_id)
    ended, stored = desk.batch(batch_id), desk.stored_files()
    desk.clock.advance(seconds=1)
    finalization.finalize(desk.context, batch_id)
    assert desk.batch(batch_id) == ended
    assert desk.stored_files() == stored


def test_a_crash_before_the_commit_leaves_one_set_of_files(
    desk: Desk, engine: EchoEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch_id = answered(desk, engine)

    def crash(*_: object, **__: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(finalization.batches, "move", crash)
        with pytest.raises(SystemExit):
            finalization.finalize(desk.context, batch_id)
    assert desk.batch(batch_id).status is BatchStatus.FINALIZING
    assert desk.rows("SELECT count(*) FROM files WHERE purpose = 'batch_output'") == [0]
    finalization.finalize(desk.context, batch_id)
    ended = desk.batch(batch_id)
    assert ended.status is BatchStatus.COMPLETED
    assert desk.stored_files() == {ended.input_file_id, ended.output_file_id, ended.error_file_id}
    assert len(desk.lines(ended.output_file_id)) == 3


def test_a_crash_while_writing_leaves_no_half_file(
    desk: Desk, engine: EchoEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch_id = answered(desk, engine)
    before = desk.stored_files()

    def crash(*_: object) -> bytes:
        raise OSError("No space left on device")

    monkeypatch.setattr(finalization, "line_bytes", crash)
    with pytest.raises(OSError, match="No space"):
        finalization.finalize(desk.context, batch_id)
    assert desk.stored_files() == before
    assert desk.batch(batch_id).status is BatchStatus.FINALIZING


@pytest.mark.parametrize(
    "status", [BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS, BatchStatus.FAILED, BatchStatus.CANCELLED]
)
def test_other_batches_are_left_alone(desk: Desk, status: BatchStatus) -> None:
    with desk.context.database.transaction() as connection:
        batch = store_batch(connection, lines=2, status=status)
    finalization.finalize(desk.context, batch.id)
    assert desk.batch(batch.id) == batch
    assert desk.stored_files() == set()


def test_a_cancelled_batch_keeps_its_answers(desk: Desk) -> None:
    with desk.context.database.transaction() as connection:
        batch = store_batch(connection, lines=3, ranges=[(1, 3)])
        mix = store_mix(connection)
        finalization.results.record(connection, [a_result(batch, 2, level=2, probability=0.2, mix_id=mix.id)])
    batches.cancel(desk.context, TENANT, batch.id)
    finalization.finalize(desk.context, batch.id)
    ended = desk.batch(batch.id)
    assert (ended.status, ended.completed, ended.failed) == (BatchStatus.CANCELLED, 1, 2)
    (answer,) = desk.lines(ended.output_file_id)
    assert answer["sprout"]["level"] == "L2"
    assert answer["sprout"]["probability"] == 0.2
    assert answer["sprout"]["pinned"] is False
    assert answer["sprout"]["footprint_g"] == answer["sprout"]["operational_g"] + answer["sprout"]["embodied_g"]
    errors = desk.lines(ended.error_file_id)
    assert [(error["custom_id"], error["error"]["code"]) for error in errors] == [
        ("request-1", "batch_cancelled"),
        ("request-3", "batch_cancelled"),
    ]
    assert all(set(error["error"]) == {"code", "message"} for error in errors)


def test_a_batch_cancelled_before_its_validation_has_no_files(desk: Desk) -> None:
    batch_id = desk.submit(jsonl([line()]))
    batches.cancel(desk.context, TENANT, batch_id)
    finalization.finalize(desk.context, batch_id)
    ended = desk.batch(batch_id)
    assert (ended.status, ended.total, ended.completed, ended.failed) == (BatchStatus.CANCELLED, 0, 0, 0)
    assert desk.stored_files() == {ended.input_file_id}


def test_every_line_of_a_file_is_one_line(desk: Desk, engine: EchoEngine) -> None:
    text = "a\nb\r\nc\u2028d\u0085e"
    batch = desk.validated(jsonl([line(text=text)]))
    desk.work(desk.worker(engine))
    content = desk.content(desk.batch(batch.id).output_file_id)
    assert content.count(b"\n") == 1
    assert json.loads(content)["custom_id"] == "request-1"
