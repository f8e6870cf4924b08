"""Looking at batches that are there."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from app.cli.batch import batch
from tests.support.web import Answer, Asked, as_json, serving

pytestmark = pytest.mark.usefixtures("own_environment")

WAITS = {
    "schedule": "carbon", "zones": ["GB", "FR"], "reason": "It waits until 03:00.", "held": 40,
    "waiting_until": "2026-03-03T03:00:00+00:00", "expected_end": "2026-03-03T04:00:00+00:00", "in_time": True,
    "footprint_g": 2.5, "at_once_g": 4.0, "intensity_basis": "lifecycle-average",
}  # fmt: skip
ENDED = {**dict.fromkeys(WAITS), "schedule": "asap"}


def a_batch(plan: dict[str, Any] = WAITS, **changes: Any) -> dict[str, Any]:
    counts = {"total": 40, "completed": 0, "failed": 0}
    values = {"id": "batch_1", "status": "in_progress", "request_counts": counts, "expires_at": 1772539200}
    return {**values, "sprout": plan, **changes}


def ask(answer: Any, *arguments: str, monkeypatch: pytest.MonkeyPatch) -> Result:
    with serving(lambda _: as_json(answer)) as url:
        monkeypatch.setenv("SPROUT_API_URL", url)
        return CliRunner().invoke(batch, arguments)


def test_the_newest_batches_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {"total": 40, "completed": 38, "failed": 2}
    done = a_batch(ENDED, id="batch_2", status="completed", request_counts=counts)
    ended = ask({"data": [a_batch(), done]}, "list", monkeypatch=monkeypatch)
    lines = [line.split() for line in ended.output.splitlines()]
    assert ["batch_1", "waits", "until", "Tue", "03:00", "UTC", "0/40", "2026-03-03", "12:00", "UTC"] in lines
    assert ["batch_2", "completed", "40/40", "2026-03-03", "12:00", "UTC"] in lines


def test_without_batches_the_list_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask({"data": []}, "list", monkeypatch=monkeypatch).output == "There is no batch yet.\n"


def test_a_batch_says_why_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = ask(a_batch(), "show", "batch_1", monkeypatch=monkeypatch)
    assert ended.output.splitlines() == [
        "batch_1: waits until Tue 03:00 UTC, 0 of 40 done.",
        "Schedule carbon, in GB or FR only; its window closes at 2026-03-03 12:00 UTC.",
        "It waits until 03:00.",
        "Expected end: within the hour before 2026-03-03 04:00 UTC. Expected of what is left: 2.50 g; run at once: "
        "4.00 g (attributional, lifecycle-average).",
    ]


def test_a_batch_without_a_worker_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = {**ENDED, "waits_for_worker": True, "reason": "No worker serves the model b."}
    ended = ask(a_batch(plan), "show", "batch_1", monkeypatch=monkeypatch)
    assert ended.output.splitlines() == [
        "batch_1: waits for a worker, 0 of 40 done.",
        "Schedule asap; its window closes at 2026-03-03 12:00 UTC.",
        "No worker serves the model b.",
    ]


def test_a_batch_that_has_ended_has_no_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {"total": 40, "completed": 38, "failed": 2}
    ended = ask(a_batch(ENDED, status="completed", request_counts=counts), "show", "batch_1", monkeypatch=monkeypatch)
    assert ended.output.splitlines() == [
        "batch_1: completed, 40 of 40 done, 2 of them failed.",
        "Schedule asap; its window closes at 2026-03-03 12:00 UTC.",
    ]


def test_a_batch_that_failed_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    faults = [{"message": f"Line {number}: this is not usable JSON."} for number in range(1, 23)]
    failed = a_batch(
        {**WAITS, "reason": None}, status="failed", expires_at=None, errors={"object": "list", "data": faults}
    )
    shown = ask(failed, "show", "batch_1", monkeypatch=monkeypatch).output.splitlines()
    assert shown[0].startswith("batch_1: failed, ")
    assert shown[1:] == [*(fault["message"] for fault in faults[:20]), "And further lines: --json shows them."]


def test_a_batch_that_failed_has_no_end_to_come(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = a_batch(ENDED, status="failed", expires_at=None)
    listed = ask({"data": [failed]}, "list", monkeypatch=monkeypatch).output
    assert ["batch_1", "failed", "0/40", "-"] in [line.split() for line in listed.splitlines()]


def test_programs_get_a_batch_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert json.loads(ask(a_batch(), "show", "batch_1", "--json", monkeypatch=monkeypatch).output) == a_batch()


def test_a_batch_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = ask(a_batch(ENDED, status="cancelling"), "cancel", "batch_1", monkeypatch=monkeypatch)
    assert (ended.exit_code, ended.output) == (0, "Batch batch_1: cancelling.\n")


@pytest.mark.parametrize(
    ("arguments", "sprout", "said"),
    [
        (("pause", "batch_1", "--reason", "why"), {"paused": True, "reason": "It is paused (why)."}, "paused (why)"),
        (("resume", "batch_1"), {}, "Batch batch_1: in progress."),
        (
            ("retry", "batch_1"),
            {"note": "3 lines are run again."},
            "Batch batch_1: in progress. 3 lines are run again.",
        ),
    ],
)
def test_what_is_done_with_a_batch(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], sprout: dict[str, Any], said: str
) -> None:
    asked: list[Asked] = []

    def answer(request: Asked) -> Answer:
        asked.append(request)
        return as_json(a_batch({**ENDED, **sprout}))

    with serving(answer) as url:
        monkeypatch.setenv("SPROUT_API_URL", url)
        ended = CliRunner().invoke(batch, arguments)
    assert said in ended.output
    assert (asked[-1].method, asked[-1].path) == ("POST", f"/v1/batches/batch_1/{arguments[0]}")
    if arguments[0] == "pause":
        assert json.loads(asked[-1].body) == {"reason": "why"}


def test_a_paused_batch_is_shown_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    paused = a_batch({**WAITS, "paused": True, "reason": "It is paused.", "footprint_g": None})
    assert ask(paused, "show", "batch_1", monkeypatch=monkeypatch).output.startswith("batch_1: paused, 0 of 40 done")


def test_results_go_on_where_the_connection_broke_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.cli.client.RETRY_S", 0.01)
    lines = [json.dumps({"custom_id": f"ü{n}", "sprout": {"cursor": str(n)}}, ensure_ascii=False) for n in (1, 2, 3)]
    half = "".join(f"{text}\n" for text in lines[:2]).encode()
    answers = iter([Answer(content=half, announced=len(half) + 9), Answer(content=f"{lines[2]}\n".encode())])
    paths: list[str] = []

    def answer(request: Asked) -> Answer:
        paths.append(request.path)
        return next(answers) if "results" in request.path else as_json({})

    with serving(answer) as url:
        monkeypatch.setenv("SPROUT_API_URL", url)
        ended = CliRunner().invoke(batch, ["results", "batch_1", "--follow"])
    assert ended.output.splitlines() == lines
    assert [path for path in paths if "results" in path] == [
        "/v1/batches/batch_1/results?after=0&follow=true",
        "/v1/batches/batch_1/results?after=2&follow=true",
    ]
