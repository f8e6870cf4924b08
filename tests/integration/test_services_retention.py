"""Texts go when their time has passed; figures stay."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from app.domain.batch import BatchStatus
from app.domain.errors import InvalidInput
from app.domain.retention import Kept
from app.domain.tenant import Limits
from app.services import reporting, retention, tenants
from app.store import retention as stored
from app.store.database import TENANT
from tests.support.api import Api
from tests.support.engine import EchoEngine
from tests.support.factories import line
from tests.support.judge import ScriptedJudge
from tests.support.rounds import ended, served
from tests.support.services import Desk, Desks, jsonl

HOUR_S = 3600.0


def count(desk: Desk, condition: str) -> int:
    return int(desk.rows(f"SELECT count(*) FROM {condition}")[0])


def answered(desk: Desk, lines: int = 5) -> str:
    batch = desk.validated(jsonl(line(f"r-{number}", text=f"Secret {number}") for number in range(lines)))
    desk.work(desk.worker(EchoEngine()))
    return batch.id


def test_prompts_and_answers_go_and_the_ledger_stays(desks: Desks) -> None:
    desk = desks.desk(keep_prompts_s=HOUR_S, keep_answers_s=2 * HOUR_S)
    api = Api(desk.context)
    batch_id = answered(desk)
    before = reporting.report(desk.context, TENANT, batch_id)
    desk.clock.advance(hours=1)
    assert retention.forget(desk.context)
    assert count(desk, "requests WHERE body IS NOT NULL") == 5
    desk.clock.advance(seconds=1)
    assert retention.forget(desk.context)
    assert (count(desk, "requests WHERE body IS NOT NULL"), count(desk, "responses")) == (0, 5)
    desk.clock.advance(hours=1)
    assert retention.forget(desk.context)
    assert (count(desk, "results"), count(desk, "responses")) == (5, 0)
    # All that it used is still told, line by line too.
    assert reporting.report(desk.context, TENANT, batch_id).levels == before.levels
    lines = told(api, batch_id)
    assert [one["response"]["body"] for one in lines] == [None] * 5
    assert all(one["sprout"]["energy_j"] > 0 for one in lines)
    # The files of the batch are another kind.
    assert len(desk.stored_files()) == 2
    marks = desk.rows("SELECT prompts_gone_at, answers_gone_at FROM batches")[0]
    assert retention.forget(desk.context)
    assert desk.rows("SELECT prompts_gone_at, answers_gone_at FROM batches")[0] == marks


def told(api: Api, batch_id: str) -> list[dict[str, Any]]:
    """The lines that have finished."""
    return [json.loads(text) for text in api("GET", f"/v1/batches/{batch_id}/results").text.splitlines()]


def test_an_error_without_its_text_is_still_one(desks: Desks) -> None:
    desk = desks.desk(keep_answers_s=HOUR_S)
    batch = desk.validated(jsonl([line()]))
    desk.clock.advance(hours=25)
    api = Api(desk.context)
    assert api.post(f"/v1/batches/{batch.id}/cancel")["status"] == "cancelling"
    desk.work(desk.worker(EchoEngine()))
    desk.clock.advance(hours=2)
    retention.forget(desk.context)
    (only,) = told(api, batch.id)
    assert only["error"] == {"code": "batch_cancelled", "message": "Its text is no longer kept."}


def test_what_was_wrong_with_a_line_is_known_without_citing_it(desks: Desks) -> None:
    desk = desks.desk(keep_prompts_s=HOUR_S)
    api = Api(desk.context)
    wrong = json.dumps({**line("bad"), "method": "SECRET"}).encode()
    some, none = (desk.validated(content) for content in (jsonl([line("good")]) + wrong, wrong))
    desk.work(desk.worker(EchoEngine()))
    assert count(desk, "rejected_lines WHERE message LIKE '%SECRET%'") == 1
    assert "SECRET" in api("GET", f"/v1/batches/{none.id}").text
    desk.clock.advance(hours=2)
    retention.forget(desk.context)
    for batch, number in ((some, 2), (none, 1)):
        fault = {"code": "invalid_method", "line": number, "message": "Its text is no longer kept.", "param": "method"}
        assert api.get(f"/v1/batches/{batch.id}")["errors"]["data"] == [fault]
    assert count(desk, "rejected_lines WHERE message LIKE '%SECRET%'") == 0
    assert told(api, some.id)[0]["response"]["body"]["error"]["message"] == "Its text is no longer kept."


def test_an_open_batch_loses_nothing(desks: Desks) -> None:
    desk = desks.desk(**{f"keep_{kind}_s": 1.0 for kind in Kept})
    batch = desk.validated(jsonl(line(f"r-{number}") for number in range(3)))
    desk.clock.advance(hours=20)
    assert retention.forget(desk.context)
    worker = desk.worker(EchoEngine())
    desk.work(worker)
    ended_batch = desk.batch(batch.id)
    assert (ended_batch.status, ended_batch.completed) == (BatchStatus.COMPLETED, 3)


def test_a_batch_that_goes_on_meanwhile_is_left_alone(desks: Desks) -> None:
    desk = desks.desk(keep_prompts_s=1.0)
    batch_id = answered(desk)
    limits = stored.Limits(default_s=desk.context.settings.kept_s, now=desk.clock.advance(hours=1))
    with desk.context.database.transaction() as connection:
        assert stored.batches_past(connection, Kept.PROMPTS, limits, 10) == [batch_id]
    desk.rows("UPDATE batches SET status = 'in_progress', completed_at = NULL RETURNING id")
    with desk.context.database.transaction() as connection:
        assert stored.drop_lines(connection, Kept.PROMPTS, batch_id, after=0, limit=10) is None
        stored.mark_gone(connection, Kept.PROMPTS, batch_id, desk.clock.now())
    assert count(desk, "requests WHERE body IS NULL") == 0
    assert desk.batch(batch_id).prompts_gone_at is None


def test_a_tenant_has_times_of_its_own(desks: Desks) -> None:
    desk = desks.desk(keep_prompts_s=HOUR_S)
    answered(desk)
    desk.clock.advance(hours=2)
    tenants.add(desk.context.database, desk.clock, "other", weight=1.0, allowed=Limits())
    retention.set_time(desk.context, "other", Kept.PROMPTS, 1e300)
    retention.set_time(desk.context, TENANT, Kept.PROMPTS, None)
    assert retention.times(desk.context, TENANT)[Kept.PROMPTS] is None
    retention.forget(desk.context)
    assert count(desk, "requests WHERE body IS NOT NULL") == 5
    retention.set_time(desk.context, TENANT, Kept.ANSWERS, HOUR_S)
    retention.forget(desk.context)
    assert (count(desk, "requests WHERE body IS NOT NULL"), count(desk, "responses")) == (5, 0)
    retention.reset_time(desk.context, TENANT, Kept.PROMPTS)
    assert retention.times(desk.context, TENANT)[Kept.PROMPTS] == HOUR_S
    retention.forget(desk.context)
    assert count(desk, "requests WHERE body IS NOT NULL") == 0
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(InvalidInput, match="time above 0"):
            retention.set_time(desk.context, TENANT, Kept.PROMPTS, wrong)


def test_samples_and_replies_go_when_their_round_is_over(desks: Desks) -> None:
    desk = desks.desk(judge="engine", evaluation_budget=1.0, kept_at_l0=0.1, keep_verdicts_s=HOUR_S)
    worker = served(desk)
    ended(desk, worker, [ScriptedJudge()])
    sampled, verdicts = count(desk, "evaluation_samples"), count(desk, "verdicts")
    assert sampled > 0
    assert verdicts > 0
    desk.clock.advance(hours=2)
    retention.forget(desk.context)
    assert count(desk, "verdicts WHERE replies IS NOT NULL") == 0
    assert count(desk, "evaluation_samples WHERE body IS NOT NULL") == sampled
    desk.clock.advance(days=31)
    retention.forget(desk.context)
    assert count(desk, "evaluation_samples WHERE body IS NOT NULL OR answers IS NOT NULL") == 0
    assert (count(desk, "evaluation_samples"), count(desk, "verdicts")) == (sampled, verdicts)


def test_a_round_goes_on_without_the_answers_that_were_served(desks: Desks) -> None:
    desk = desks.desk(
        judge="engine", evaluation_budget=1.0, kept_at_l0=0.1, keep_answers_s=HOUR_S, keep_prompts_s=HOUR_S
    )
    worker = served(desk)
    desk.expect([900.0])
    ended(desk, worker, [ScriptedJudge()])
    retention.forget(desk.context)
    assert (count(desk, "responses"), count(desk, "requests WHERE body IS NOT NULL")) == (0, 0)
    desk.clock.advance(hours=1)
    desk.expect([100.0])
    ended(desk, worker, [ScriptedJudge()])
    assert count(desk, "evaluation_samples WHERE state = 'failed'") == 0


def test_files_that_no_open_batch_needs_go(desks: Desks) -> None:
    desk = desks.desk(keep_files_s=HOUR_S)
    desk.upload(jsonl([line()]))
    ended_id = answered(desk)
    waiting = desk.submit(jsonl([line()]))
    desk.clock.advance(hours=2)
    retention.forget(desk.context)
    assert desk.stored_files() == {desk.batch(waiting).input_file_id}
    assert count(desk, "files") == 1
    assert desk.batch(ended_id).completed == 5


def test_thousands_of_rows_go_in_pieces_and_a_killed_tick_loses_nothing(
    desks: Desks, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = desks.desk(keep_prompts_s=1.0, keep_answers_s=1.0)
    batch_id = answered(desk, lines=4500)
    desk.clock.advance(timedelta(hours=1))
    largest = 0
    drop = stored.drop_lines

    def watched(connection, kind, name, *, after, limit):  # type: ignore[no-untyped-def]
        nonlocal largest
        before = count(desk, "requests WHERE body IS NULL"), count(desk, "responses")
        last = drop(connection, kind, name, after=after, limit=limit)
        largest = max(largest, limit)
        assert (count(desk, "requests WHERE body IS NULL"), count(desk, "responses")) == before, "not committed yet"
        return last

    monkeypatch.setattr(stored, "drop_lines", watched)
    assert not retention.forget(desk.context, pieces=3)
    assert (largest, count(desk, "requests WHERE body IS NULL")) == (1000, 3000)
    assert desk.batch(batch_id).prompts_gone_at is None

    def killed(*_, **__):  # type: ignore[no-untyped-def]
        raise KeyboardInterrupt

    monkeypatch.setattr(stored, "mark_gone", killed)
    with pytest.raises(KeyboardInterrupt):
        retention.forget(desk.context)
    monkeypatch.undo()
    assert retention.forget(desk.context)
    assert (count(desk, "requests WHERE body IS NOT NULL"), count(desk, "responses")) == (0, 0)
    assert desk.batch(batch_id).answers_gone_at is not None
    assert count(desk, "results") == 4500
