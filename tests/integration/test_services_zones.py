"""Batches that may run in several zones: where they go, and where they never go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from app.domain.batch import BatchStatus
from app.domain.errors import InvalidInput, OptimizerFailed
from app.domain.intensity import HOUR
from app.ports import Task
from app.services import deferral, generation, layout, reconciliation, reporting
from app.store.database import TENANT
from tests.support.clock import NOON
from tests.support.engine import EchoEngine
from tests.support.factories import line, take
from tests.support.services import Desk, Desks, jsonl

ZONES: Mapping[str, Any] = {"zones": ("A", "B"), "shard_size": 10}
ANY = {"sprout_zones": "any"}
ONLY_B = {"sprout_zones": "B"}


@pytest.fixture
def desk(desks: Desks) -> Desk:
    """In zone A, the default one, where it is dirtier; a device works in each zone."""
    desk = desks.desk(zone="A", **ZONES)
    desk.measure()
    grams(desk, a=300.0, b=100.0)
    desk.see(zone="A", worker="a")
    desk.see(zone="B", worker="b")
    return desk


@pytest.fixture
def other(desks: Desks) -> Desk:
    """In zone B."""
    return desks.desk(zone="B", **ZONES)


def grams(desk: Desk, *, a: float, b: float) -> None:
    desk.expect([a] * 30, zone="A")
    desk.expect([b] * 30, zone="B")


def requests(number: int) -> bytes:
    return jsonl(line(f"r{index}") for index in range(number))


def places(desk: Desk) -> Sequence[str]:
    return desk.rows("SELECT zone FROM shards WHERE state <> 'done' ORDER BY batch_id, first_line, last_line")


def rung(desk: Desk, place: str = "") -> Sequence[str]:
    sent = desk.dispatcher.elsewhere.get(place, []) if place else desk.dispatcher.sent
    return [argument for task, argument in sent if task is Task.GENERATE]


def plan_of(desk: Desk, batch_id: str) -> Mapping[str, Any]:
    plan = desk.batch(batch_id).plan
    assert plan is not None
    return plan


def test_a_batch_that_may_run_anywhere_goes_where_it_is_cleaner(desk: Desk, other: Desk, engine: EchoEngine) -> None:
    batch = desk.validated(requests(20), metadata=ANY)
    assert (batch.zones, places(desk)) == (("A", "B"), ["B", "B"])
    assert (rung(desk), len(rung(desk, "B"))) == ([], 2)
    plan = plan_of(desk, batch.id)
    assert {hour["zone"] for hour in plan["hours"]} == {"B"}
    assert {hour["zone"] for hour in plan["at_once"]} == {"A"}
    worker, home = other.worker(engine), desk.worker(engine)
    for shard in rung(desk, "B"):
        generation.run_shard(desk.context, home, shard)
    assert engine.requests == [], "a worker in A took what was to run in B"
    for shard in rung(desk, "B"):
        generation.run_shard(other.context, worker, shard)
    assert desk.rows("SELECT DISTINCT zone, intensity_g_per_kwh FROM results") == [("B", 100.0)]
    mixes = "SELECT DISTINCT directive_mixes.zone FROM results JOIN directive_mixes ON directive_mixes.id = mix_id"
    assert desk.rows(mixes) == ["B"]
    desk.work(home)
    assert desk.batch(batch.id).completed == 20


def test_a_batch_stays_at_home_unless_it_says_otherwise(desk: Desk) -> None:
    desk.validated(requests(20))
    assert (places(desk), len(rung(desk)), rung(desk, "B")) == (["", ""], 2, [])


def test_a_zone_where_nobody_was_seen_gets_nothing(desks: Desks) -> None:
    desk = desks.desk(zone="A", **ZONES)
    desk.measure()
    grams(desk, a=300.0, b=100.0)
    desk.see(zone="A", worker="a")
    batch = desk.validated(requests(20), metadata=ANY)
    assert places(desk) == ["", ""]
    desk.see(zone="B", worker="b")
    deferral.replan(desk.context)
    assert places(desk) == ["B", "B"], "where nothing has begun it goes to the zone once a worker is there"
    assert set(rung(desk)) == set(rung(desk, "B")), "the messages at home ring in vain"
    assert {hour["zone"] for hour in plan_of(desk, batch.id)["hours"]} == {"B"}


def test_what_waits_moves_back_when_the_zones_swap_and_what_runs_stays(desk: Desk) -> None:
    desk.validated(requests(30), metadata=ANY)
    with desk.context.database.transaction() as connection:
        take(connection, rung(desk, "B")[0], place="B", now=desk.clock.now())
    grams(desk, a=50.0, b=400.0)
    deferral.replan(desk.context)
    assert places(desk) == ["B", "", ""]
    assert rung(desk) == rung(desk, "B")[1:]


def test_moving_data_counts(desk: Desk, desks: Desks) -> None:
    """What is saved by running elsewhere must be more than what moving the prompts there and back emits."""
    dear = desks.desk(zone="A", transfer_kwh_per_gb=1e6, **ZONES)
    desk.validated(requests(20), metadata=ANY)
    assert places(desk) == ["B", "B"]
    deferral.replan(dear.context)
    assert places(desk) == ["", ""]


def test_work_goes_home_when_a_zone_is_full(desk: Desk) -> None:
    """A batch that runs at once takes what is cleanest of the present hour first."""
    desk.validated(requests(200), metadata=ANY)
    found = places(desk)
    assert (found.count("B"), found.count("")) == (10, 10)


@pytest.mark.parametrize("text", ["C", "A,C", "", "a", "any,B", "A;B"])
def test_an_unknown_zone_is_refused(desk: Desk, text: str) -> None:
    with pytest.raises(InvalidInput, match=r"There are no workers in the zone '.*': choose among A, B, or say 'any'"):
        desk.submit(requests(1), metadata={"sprout_zones": text})


def restricted(desk: Desk) -> str:
    """A batch that may only run in zone B."""
    return desk.validated(requests(20), metadata=ONLY_B).id


def test_a_batch_runs_only_where_it_may(desk: Desk) -> None:
    grams(desk, a=50.0, b=400.0)
    restricted(desk)
    assert (places(desk), rung(desk), len(rung(desk, "B"))) == (["B", "B"], [], 2)


def test_a_batch_stays_where_it_may_run_before_anything_is_measured(desks: Desks) -> None:
    desk = desks.desk(zone="A", **ZONES)
    restricted(desk)
    assert (places(desk), rung(desk), len(rung(desk, "B"))) == (["B", "B"], [], 2)


def test_a_batch_stays_where_it_may_run_if_it_cannot_be_planned(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OptimizerFailed("There is no solution today.")

    monkeypatch.setattr(layout, "look_ahead", refuse)
    restricted(desk)
    assert (places(desk), rung(desk)) == (["B", "B"], [])


def test_a_batch_stays_where_it_may_run_though_nobody_is_there(desk: Desk) -> None:
    batch_id = restricted(desk)
    desk.clock.advance(hours=25)
    desk.see(zone="A", worker="a")
    grams(desk, a=50.0, b=50.0)
    new = desk.validated(requests(20), metadata=ONLY_B)
    for _ in range(2):
        deferral.replan(desk.context)
        reconciliation.reconcile(desk.context)
        assert (set(places(desk)), rung(desk)) == ({"B"}, [])
    assert (
        plan_of(desk, new.id)["reason"]
        == "No worker of test-model is seen in zone B: it waits for one, and runs nowhere else."
    )
    assert not plan_of(desk, new.id)["promised"]
    kept = desk.validated(requests(20), metadata={"sprout_schedule": "carbon"})
    assert plan_of(desk, kept.id)["promised"], "what waits for others takes no room here"
    desk.see(zone="B", worker="b")
    deferral.replan(desk.context)
    assert plan_of(desk, new.id)["promised"]
    assert desk.batch(batch_id).status is not BatchStatus.COMPLETED


def test_what_may_run_elsewhere_leaves_a_zone_whose_workers_vanished(desk: Desk) -> None:
    desk.validated(requests(20), metadata=ANY, completion_window="7d")
    assert places(desk) == ["B", "B"]
    desk.clock.advance(minutes=11)
    desk.see(zone="A", worker="a")
    grams(desk, a=300.0, b=100.0)
    deferral.replan(desk.context)
    assert (places(desk), len(rung(desk))) == (["", ""], 2)


def test_what_is_tried_again_halved_or_given_up_stays_in_its_zone(desk: Desk) -> None:
    restricted(desk)
    for losses in range(8):
        shards = desk.rows("SELECT id FROM shards WHERE state = 'pending'")
        if not shards:
            break
        for shard in shards:
            with desk.context.database.transaction() as connection:
                take(connection, shard, place="B", now=desk.clock.now())
        desk.clock.advance(seconds=61)
        reconciliation.reconcile(desk.context)
        if losses % 2:
            deferral.replan(desk.context)
        assert set(places(desk)) <= {"B"}
        assert rung(desk) == []
    assert desk.rows("SELECT count(*) FROM results WHERE error_code = 'poison_request'") == [20]


def test_a_report_prices_each_zone_with_its_own_figures(desk: Desk, other: Desk, engine: EchoEngine) -> None:
    batch = desk.validated(requests(200), metadata=ANY)
    home, away = desk.worker(engine), other.worker(engine)
    while rung(desk) or rung(desk, "B"):
        for shard in [argument for _, argument in desk.dispatcher.elsewhere.pop("B", [])]:
            generation.run_shard(other.context, away, shard)
        desk.work(home)
    assert desk.batch(batch.id).completed == 200
    figures = desk.rows("SELECT zone, intensity_g_per_kwh, count(*) FROM results GROUP BY 1, 2 ORDER BY 1")
    assert figures == [("A", 300.0, 100), ("B", 100.0, 100)]
    found = reporting.report(desk.context, TENANT, batch.id).hindsight
    assert found is not None
    assert found.share_as_planned == 1.0


def test_waiting_for_another_zone_says_where(desk: Desk) -> None:
    desk.expect([400.0] * 30, zone="A")
    desk.expect([300.0] * 3 + [50.0] * 5 + [300.0] * 30, zone="B")
    batch = desk.validated(requests(20), metadata={"sprout_zones": "A, B", "sprout_schedule": "carbon"})
    plan = plan_of(desk, batch.id)
    assert plan["waiting_until"] == (NOON + 3 * HOUR).isoformat()
    assert "in zone B: 50 gCO2eq/kWh are expected then, 300 now." in plan["reason"]
