"""Rounds of evaluation: opened by the trigger, drained through the gate, judged, and what follows."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from typing import Any

import pytest
from sqlalchemy import text

from app.domain.completion import Completion, EngineRequest, error_body
from app.domain.errors import InvalidInput
from app.domain.judging import Comparison
from app.ports import Task
from app.services import deployment, directives, evaluation, quality_report, retention, rounds
from app.services.stint import FIRST
from app.store import rounds as stored
from app.store.database import TENANT
from tests.support.api import Api
from tests.support.engine import EchoEngine
from tests.support.factories import MODEL, line, store_verdicts
from tests.support.grid import ScriptedProvider
from tests.support.judge import ScriptedJudge, takes_the_first
from tests.support.rounds import HOURS, ended, serve, served
from tests.support.search import tables_with
from tests.support.services import Desk, Desks, ScriptedMeter, jsonl
from workers.judges.chat import ChatJudge


@pytest.fixture
def judged(desks: Desks) -> Desk:
    """An installation with a judge and a few verdicts, whose budget is as large as what it serves."""
    desk = desks.desk(judge="engine", evaluation_budget=1.0, kept_at_l0=0.1)
    with desk.context.database.transaction() as connection:
        for level in (1, 2):
            store_verdicts(connection, wins=20, losses=20, level=level, created_at=desk.clock.now())
    return desk


def outcomes(desk: Desk) -> Sequence[Any]:
    return desk.rows(
        "SELECT level, outcome, count(*) FROM verdicts WHERE judge = 'scripted' GROUP BY 1, 2 ORDER BY 1, 2"
    )


def test_a_round_is_opened_answered_and_judged(judged: Desk) -> None:
    judge = ScriptedJudge()
    worker = served(judged)
    said = ended(judged, worker, [judge])
    assert said.startswith(f"{MODEL}: drained: 400 g/kWh is at or below the mean")
    # The echo answers with the whole prompt, so that a directive makes its answer the longer one.
    asked = judged.rows("SELECT requests FROM evaluation_rounds")[0]
    assert asked > 0
    assert outcomes(judged) == [(1, "win", asked), (2, "win", asked)]
    # Every pair was shown in both orders.
    assert len(judge.asked) == 4 * asked
    assert judged.rows("SELECT DISTINCT when_first || ' ' || when_second FROM verdicts WHERE judge = 'scripted'") == [
        "level level"
    ]
    assert judged.rows("SELECT DISTINCT state FROM evaluation_samples") == ["judged"]
    assert rounds.consider(judged.context).startswith(f"{MODEL}: idle: the last round ended: {asked} prompts judged")


def test_answers_that_were_served_are_used_again(judged: Desk) -> None:
    engine = EchoEngine()
    worker = served(judged, engine)
    before = len(engine.requests)
    ended(judged, worker, [ScriptedJudge()])
    asked = judged.rows("SELECT requests FROM evaluation_rounds")[0]
    assert len(engine.requests) - before == 2 * asked


def test_evaluation_is_charged_and_stays_within_its_budget(judged: Desk) -> None:
    worker = judged.worker(EchoEngine())
    serve(judged, worker)
    ended(judged, worker, [ScriptedJudge()])
    spent, budget = judged.rows(
        "SELECT sum(operational_g + embodied_g), min(budget_g) FROM evaluation_samples "
        "JOIN evaluation_rounds ON id = round_id"
    )[0]
    assert 0 < spent <= budget * (1 + 1e-9)
    overhead = quality_report.report(judged.context, TENANT)["overhead"]
    assert overhead["footprint_g"] == pytest.approx(spent)


def test_a_judge_that_follows_the_place_says_nothing(judged: Desk) -> None:
    meter = ScriptedMeter()
    worker = judged.worker(EchoEngine(), meter)
    serve(judged, worker, requests=60)
    meter.step_j = 0.1  # for as many samples as there are
    ended(judged, worker, [ScriptedJudge(takes_the_first)])
    assert {outcome for _, outcome, _ in outcomes(judged)} == {"tie"}
    (judge,) = (each for each in quality_report.report(judged.context, TENANT)["judges"] if each["judge"] != "human")
    assert judge["position_bias"] == 1
    assert not judge["is_believed"]
    # Only what was there before counts.
    counted = [each["verdicts"] for each in quality_report.report(judged.context, TENANT)["levels"]]
    assert counted == pytest.approx([40, 40], abs=1)


def test_nothing_runs_while_the_gate_is_closed(judged: Desk) -> None:
    worker, judge = judged.worker(EchoEngine()), ScriptedJudge()
    serve(judged, worker)
    judged.expect([500.0, 500.0])
    said = rounds.consider(judged.context)
    assert said.startswith(f"{MODEL}: held: 500 g/kWh is above the mean")
    assert not judged.dispatcher.arguments(Task.EVALUATE)
    evaluation.run_round(judged.context, worker, [judge], judged.rows("SELECT id FROM evaluation_rounds")[0])
    assert not judge.asked
    judged.expect([400.0, 400.0])
    ended(judged, worker, [judge])
    assert outcomes(judged)


def test_batch_work_goes_first(judged: Desk) -> None:
    worker, judge = judged.worker(EchoEngine()), ScriptedJudge()
    serve(judged, worker)
    batch = judged.validated(jsonl([line("late")]))
    assert ended(judged, worker, [judge]).startswith(f"{MODEL}: drained")
    assert not judge.asked
    judged.dispatcher.sent.append((Task.GENERATE, f"{batch.id}:1-1"))
    judged.work(worker)
    judged.clock.advance(minutes=2)
    ended(judged, worker, [judge])
    assert outcomes(judged)


def test_a_judge_that_is_away_costs_nothing_but_time(judged: Desk) -> None:
    engine, judge, meter = EchoEngine(), ScriptedJudge(), ScriptedMeter()
    worker = judged.worker(engine, meter)
    serve(judged, worker)
    meter.step_j = 0.1  # what is kept must leave something of the budget
    judge.away = True
    ended(judged, worker, [judge])
    assert outcomes(judged) == []
    answered = len(engine.requests)
    judged.clock.advance(minutes=1)
    assert ended(judged, worker, [judge]).endswith("; The judge cannot be asked: it is away")
    judge.away = False
    judged.clock.advance(minutes=1)
    ended(judged, worker, [judge])
    asked = judged.rows("SELECT requests FROM evaluation_rounds")[0]
    assert sum(number for _, _, number in outcomes(judged)) == 2 * asked
    # What the first samples were answered was kept.
    assert len(engine.requests) == answered + 2 * max(asked - FIRST, 0)


def test_a_judge_that_fails_costs_that_verdict_only(judged: Desk) -> None:
    def mind(comparison: Comparison) -> int | None:
        if any("very briefly" in answer for answer in comparison.answers):
            raise InvalidInput("it rambles")
        return 0

    worker = served(judged)
    ended(judged, worker, [ScriptedJudge(mind)])
    assert {level for level, _, _ in outcomes(judged)} == {1}
    assert judged.rows("SELECT DISTINCT state FROM evaluation_samples") == ["judged"]


def test_private_prompts_are_left_alone(judged: Desk) -> None:
    worker = judged.worker(EchoEngine())
    serve(judged, worker, metadata={"sprout_evaluation": "off"})
    assert "there is no recent request left to ask about" in rounds.consider(judged.context)


def test_without_a_judge_only_reference_answers_are_asked_about(desks: Desks) -> None:
    desk = desks.desk(evaluation_budget=1.0)
    worker = desk.worker(EchoEngine())
    serve(desk, worker)
    assert "no judge may be asked" in rounds.consider(desk.context)


def test_another_model_starts_from_l0(judged: Desk) -> None:
    with judged.context.database.transaction() as connection:
        for level in (1, 2):
            store_verdicts(connection, wins=400, level=level, created_at=judged.clock.now())
    deployment.publish(judged.context, "first")
    with judged.context.database.transaction() as connection:
        store_verdicts(
            connection,
            wins=400,
            level=1,
            created_at=judged.clock.now(),
            fingerprint=deployment.fingerprints(connection, judged.context.settings, MODEL)("default"),
        )
    found = quality_report.report(judged.context, TENANT)["levels"]
    assert [(each["level"], each["verdicts"]) for each in found] == [(1, 400)]
    deployment.publish(judged.context, "second")
    assert quality_report.report(judged.context, TENANT)["levels"] == []
    (event,) = quality_report.report(judged.context, TENANT)["events"]
    assert event["kind"] == "model_changed"
    assert judged.dispatcher.arguments(Task.RECOMPUTE) == ["another model"] * 2


NEWEST = "SELECT probabilities FROM directive_mixes ORDER BY created_at DESC, id LIMIT 1"


def fallen(desk: Desk) -> None:
    """A level that is in use, and fresh verdicts that all speak against it."""
    desk.expect(HOURS)
    desk.measure(level=0)
    desk.measure(level=1, energy_j=1000.0, device_s=1.0)
    desk.see()
    with desk.context.database.transaction() as connection:
        store_verdicts(connection, wins=250, losses=150, level=1, created_at=desk.clock.now())
        directives.ensure_mixes(desk.context, connection, TENANT, MODEL, ["default"])
    assert desk.rows(NEWEST)[0][1] > 0.5
    desk.clock.advance(minutes=1)
    with desk.context.database.transaction() as connection:
        store_verdicts(connection, losses=29, level=1, created_at=desk.clock.now())
    desk.dispatcher.take_all()


def test_a_drop_needs_neither_the_broker_nor_a_carbon_intensity_to_be_rolled_back(judged: Desk) -> None:
    fallen(judged)
    judged.clock.advance(hours=12)
    judged.dispatcher.away = True
    assert "no recent carbon intensity is known" in rounds.consider(judged.context)
    assert judged.rows(NEWEST) == [[1.0, 0.0, 0.0]]
    # Said once, and not again at every tick.
    judged.clock.advance(minutes=1)
    rounds.consider(judged.context)
    assert judged.rows("SELECT kind FROM events") == ["quality_drop"]
    directives.recompute(judged.context, ScriptedProvider(knows=False))
    assert judged.rows(NEWEST) == [[1.0, 0.0, 0.0]]


def test_events_are_counted_for_prometheus(api: Api, desk: Desk) -> None:
    assert 'sprout_events_total{kind="quality_drop"} 0.0' in api("GET", "/metrics").text
    fallen(desk)
    rounds.consider(desk.context)
    assert 'sprout_events_total{kind="quality_drop"} 1.0' in api("GET", "/metrics").text


def test_answers_that_become_worse_are_rolled_back(judged: Desk) -> None:
    fallen(judged)
    rounds.consider(judged.context)
    (event,) = quality_report.report(judged.context, TENANT)["events"]
    assert event["kind"] == "quality_drop"
    assert judged.dispatcher.arguments(Task.RECOMPUTE) == ["quality has dropped"]
    judged.clock.advance(seconds=1)
    directives.recompute(judged.context, ScriptedProvider(400.0))
    assert judged.rows("SELECT probabilities[1] FROM directive_mixes ORDER BY created_at DESC LIMIT 1") == [1.0]


def test_a_round_that_took_more_than_its_budget_ends(judged: Desk) -> None:
    meter = ScriptedMeter()
    worker = judged.worker(EchoEngine(), meter)
    serve(judged, worker, requests=60)
    meter.step_j = 1000.0
    ended(judged, worker, [ScriptedJudge()])
    assert "its budget of" in rounds.consider(judged.context)
    assert judged.rows("SELECT count(*) FROM evaluation_rounds WHERE closed_at IS NULL") == [0]


def test_a_workload_that_keeps_out_of_rounds_does_not_hold_the_gate_open(desks: Desks) -> None:
    desk = desks.desk(judge="engine", evaluation_budget=1.0, kept_at_l0=0.1)
    with desk.context.database.transaction() as connection:
        for level in (1, 2):
            store_verdicts(connection, wins=200, losses=200, level=level, created_at=desk.clock.now())
    worker = desk.worker(EchoEngine())
    serve(desk, worker, metadata={"sprout_evaluation": "off", "sprout_workload": "private"})
    serve(desk, worker)
    desk.expect([900.0, 900.0])
    assert "forced" not in rounds.consider(desk.context)
    assert not desk.dispatcher.arguments(Task.EVALUATE)
    assert desk.rows("SELECT count(*) FROM evaluation_samples WHERE workload = 'private'") == [0]


def test_what_a_round_left_unasked_is_forgotten_too(judged: Desk) -> None:
    worker, judge = served(judged), ScriptedJudge()
    judge.away = True
    ended(judged, worker, [judge])
    with judged.context.database.transaction() as connection:
        connection.execute(text("UPDATE evaluation_samples SET fault = 'a prompt'"))
        stored.close(connection, judged.rows("SELECT id FROM evaluation_rounds")[0], judged.clock.now())
    assert judged.rows("SELECT count(body) FROM evaluation_samples WHERE state = 'waiting'")[0] > 0
    judged.clock.advance(days=31)
    retention.forget(judged.context)
    assert judged.rows("SELECT count(body) + count(answers) + count(fault) FROM evaluation_samples") == [0]


@pytest.mark.parametrize(("most", "asked"), [(3, 0), (4, 4), (20, 20)])
def test_a_judge_is_not_asked_more_often_than_allowed(desks: Desks, most: int, asked: int) -> None:
    desk = desks.desk(judge="engine", evaluation_budget=1.0, judge_max_requests=most)
    worker, judge = served(desk), ScriptedJudge()
    ended(desk, worker, [judge])
    assert len(judge.asked) == asked
    assert f"SPROUT_JUDGE_MAX_REQUESTS={most}" in rounds.consider(desk.context)


def test_a_sample_that_always_brings_about_an_error_fails_in_the_end(judged: Desk) -> None:
    def mind(_: Comparison) -> int:
        raise RuntimeError("nobody foresaw this")

    worker = served(judged)
    for _ in range(4):
        with suppress(RuntimeError):
            ended(judged, worker, [ScriptedJudge(mind)])
        judged.clock.advance(minutes=10)
    assert "failed" in judged.rows("SELECT state FROM evaluation_samples WHERE losses >= 3")


def test_why_prompts_failed_is_said(judged: Desk) -> None:
    def mind(_: Comparison) -> int:
        raise InvalidInput("it rambles")

    ended(judged, served(judged), [ScriptedJudge(mind)])
    assert "it rambles" in rounds.consider(judged.context)


def test_ticks_at_once_open_one_round(judged: Desk) -> None:
    serve(judged, judged.worker(EchoEngine()))
    with ThreadPoolExecutor(3) as pool:
        said = list(pool.map(lambda _: rounds.consider(judged.context), range(3)))
    assert len(said) == 3
    assert judged.rows("SELECT count(*) FROM evaluation_rounds") == [1]


def test_what_a_judge_cites_stays_with_the_sample(judged: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """Not in the round's fault, which everybody sees, in what the tick says, which goes to Flower, or in a log."""

    def refuses(request: EngineRequest) -> Completion | None:
        said = f"zanzibarquux: {request.body['messages']}"
        return Completion(key=request.key, status_code=400, body=error_body(said))

    worker = served(judged)
    with caplog.at_level(logging.DEBUG), closing(EchoEngine(refuses)) as server:
        judge = ChatJudge(server, name="engine", model=MODEL)
        said = [ended(judged, worker, [judge]) for _ in range(2)]
    assert "the judge answered 400" in said[1]
    assert tables_with(judged.context.database, "zanzibarquux") == {"evaluation_samples.fault"}
    assert "zanzibarquux" not in caplog.text + "".join(said)
