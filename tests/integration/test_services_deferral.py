"""Batches that wait for cleaner hours: held, released, rung for, and what they say meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest

from app.api.shapes import PLAN_FIELDS, batch_shape
from app.domain.batch import BatchStatus, Schedule
from app.domain.errors import Conflict, NotFound, OptimizerFailed
from app.domain.intensity import HOUR
from app.ports import Task
from app.services import batches, deferral, generation, layout, reconciliation, validation
from app.store.database import TENANT
from tests.support.clock import NOON
from tests.support.engine import EchoEngine
from tests.support.factories import line, set_cells
from tests.support.services import Desk, Desks, jsonl

CARBON = {"sprout_schedule": "carbon"}
VALLEY = [300.0] * 5 + [50.0] * 2 + [300.0] * 30
"""From five to seven hours after noon it is clean."""


@pytest.fixture
def desk(desks: Desks) -> Desk:
    """Shards of ten requests, of which a device runs ten an hour; a clean valley ahead."""
    desk = desks.desk(shard_size=10)
    desk.measure()
    desk.expect(VALLEY)
    return desk


def requests(number: int) -> bytes:
    return jsonl(line(f"r{index}") for index in range(number))


def releases(desk: Desk, batch_id: str) -> Sequence[float]:
    """In hours from noon, by line."""
    query = "SELECT release_at FROM shards WHERE batch_id = :batch ORDER BY first_line"
    return [(moment - NOON) / HOUR for moment in desk.rows(query, batch=batch_id)]


def rung(desk: Desk) -> Sequence[str]:
    return desk.dispatcher.arguments(Task.GENERATE)


def shown(desk: Desk, batch_id: str) -> Mapping[str, Any]:
    """What the batch says of its plan."""
    sprout: Mapping[str, Any] = batch_shape(*batches.get(desk.context, TENANT, batch_id))["sprout"]
    return sprout


def cannot_plan(*_: object) -> None:
    raise OptimizerFailed("There is no solution today.")


def test_a_batch_waits_for_the_valley_and_runs_in_it(desk: Desk, engine: EchoEngine) -> None:
    batch = desk.validated(requests(40), metadata=CARBON)
    assert releases(desk, batch.id) == [5.0] * 4
    for hour in range(5):
        desk.clock.moment = NOON + hour * HOUR + timedelta(minutes=59)
        reconciliation.reconcile(desk.context)
        deferral.replan(desk.context)
        assert rung(desk) == [], f"rung for in hour {hour}"
    desk.clock.moment = NOON + 5 * HOUR
    reconciliation.reconcile(desk.context)
    assert len(rung(desk)) == 4
    desk.work(desk.worker(engine))
    ended = desk.batch(batch.id)
    assert (ended.status, ended.completed, ended.failed) == (BatchStatus.COMPLETED, 40, 0)


def test_a_batch_says_until_when_it_waits_and_why(desk: Desk) -> None:
    desk.see()
    batch = desk.validated(requests(40), metadata=CARBON)
    found = shown(desk, batch.id)
    assert (found["schedule"], found["zones"], found["held"]) == (Schedule.CARBON, None, 40)
    assert found["waiting_until"] == (NOON + 5 * HOUR).isoformat()
    assert found["expected_end"] == (NOON + 6 * HOUR).isoformat()
    assert found["in_time"] is True
    assert found["reason"] == (
        "It waits until 2026-03-02 17:00 UTC in zone WORLD: 50 gCO2eq/kWh are expected then, 300 now."
    )
    embodied_g = 40 * 36 * desk.context.hardware.embodied_g_per_device_s
    assert found["footprint_g"] == pytest.approx(40 * 0.01 * 50 + embodied_g)
    assert found["at_once_g"] == pytest.approx(40 * 0.01 * 300 + embodied_g)
    assert (found["intensity_basis"], found["footprint_g_interval"]) == ("lifecycle-average", None)


def test_a_batch_that_is_not_to_wait_is_not_held(desk: Desk) -> None:
    desk.see()
    batch = desk.validated(requests(40))
    assert (releases(desk, batch.id), len(rung(desk))) == ([0.0] * 4, 4)
    found = shown(desk, batch.id)
    assert (found["held"], found["waiting_until"], found["in_time"]) == (0, None, True)
    assert found["reason"] == "It runs as soon as there is room."


def test_more_than_the_valley_holds_takes_what_is_cleanest_after_it(desk: Desk) -> None:
    desk.expect([300.0, *[200.0] * 4, 50.0, 100.0, *[300.0] * 30])
    batch = desk.validated(requests(220), metadata=CARBON)
    found = releases(desk, batch.id)
    assert (found.count(5.0), found.count(6.0), sum(1.0 <= hour < 5 for hour in found)) == (10, 10, 2)


def test_what_is_partly_held_says_so(desk: Desk) -> None:
    desk.see()
    desk.expect([60.0, *VALLEY[1:]])
    batch = desk.validated(requests(220), metadata=CARBON)
    assert releases(desk, batch.id).count(0.0) == len(rung(desk)) == 2
    found = shown(desk, batch.id)
    assert (found["held"], found["waiting_until"]) == (200, None)
    assert found["reason"].startswith("Some of it runs now: later hours")


def test_where_nothing_is_measured_a_batch_runs_at_once_and_says_so(desks: Desks) -> None:
    desk = desks.desk(shard_size=10)
    desk.see()
    desk.expect(VALLEY)
    batch = desk.validated(requests(40), metadata=CARBON)
    assert (releases(desk, batch.id), len(rung(desk))) == ([0.0] * 4, 4)
    found = shown(desk, batch.id)
    assert found["reason"].startswith("No request of this model was measured yet")
    assert (found["held"], found["waiting_until"], found["footprint_g"], found["in_time"]) == (0, None, None, None)
    assert desk.batch(batch.id).first_plan is None


def test_once_something_is_measured_what_is_left_is_held(desks: Desks, engine: EchoEngine) -> None:
    desk = desks.desk(shard_size=10)
    desk.expect(VALLEY)
    batch = desk.validated(requests(40), metadata=CARBON)
    worker = desk.worker(engine)
    first, *others = rung(desk)
    desk.run_beside_others(worker, first)
    desk.measure()
    deferral.replan(desk.context)
    assert releases(desk, batch.id)[1:] == [5.0] * 3
    for shard in others:
        generation.run_shard(desk.context, worker, shard)  # their messages were sent before, and ring in vain
    assert len(engine.requests) == 10
    desk.dispatcher.take_all()
    desk.clock.advance(hours=5)
    reconciliation.reconcile(desk.context)
    assert rung(desk) == others
    desk.work(worker)
    assert desk.batch(batch.id).completed == 40
    first = desk.batch(batch.id).first_plan
    assert first is not None
    assert first["requests"] == 30


def test_a_released_batch_is_rung_for_at_once(desk: Desk) -> None:
    batch = desk.validated(requests(40), metadata=CARBON)
    desk.clock.advance(minutes=5)
    deferral.release(desk.context, TENANT, batch.id)
    assert len(rung(desk)) == 4
    assert releases(desk, batch.id) == [pytest.approx(5 / 60)] * 4
    found = shown(desk, batch.id)
    assert (found["schedule"], found["held"], found["waiting_until"]) == (Schedule.ASAP, 0, None)
    deferral.replan(desk.context)
    assert releases(desk, batch.id) == [pytest.approx(5 / 60)] * 4


def test_a_batch_is_released_even_if_it_cannot_be_planned(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = desk.validated(requests(40), metadata=CARBON)
    monkeypatch.setattr(layout, "look_ahead", cannot_plan)
    deferral.release(desk.context, TENANT, batch.id)
    assert (releases(desk, batch.id), len(rung(desk))) == ([0.0] * 4, 4)
    found = shown(desk, batch.id)
    assert (found["schedule"], found["held"], found["waiting_until"]) == (Schedule.ASAP, None, None)


def test_a_batch_that_is_released_before_its_validation_never_waits(desk: Desk) -> None:
    batch_id = desk.submit(requests(40), metadata=CARBON)
    deferral.release(desk.context, TENANT, batch_id)
    validation.validate(desk.context, batch_id)
    assert (releases(desk, batch_id), len(rung(desk))) == ([0.0] * 4, 4)


def test_releasing_what_does_not_wait_changes_nothing(desk: Desk) -> None:
    batch = desk.validated(requests(40))
    before = desk.rows("SELECT * FROM shards ORDER BY id")
    deferral.release(desk.context, TENANT, batch.id)
    assert desk.rows("SELECT * FROM shards ORDER BY id") == before


@pytest.mark.parametrize("status", sorted({*BatchStatus} - {BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS}))
def test_what_has_ended_cannot_be_released(desk: Desk, status: BatchStatus) -> None:
    batch = desk.validated(requests(10), metadata=CARBON)
    done = {"completed_at": NOON} if status is BatchStatus.COMPLETED else {}
    with desk.context.database.transaction() as connection:
        set_cells(connection, batch.id, status=status, **done)
    with pytest.raises(Conflict, match=f"is {status}: there is nothing left to release"):
        deferral.release(desk.context, TENANT, batch.id)
    assert desk.batch(batch.id).schedule is Schedule.CARBON


@pytest.mark.parametrize("tenant", [TENANT, "somebody"])
def test_an_unknown_batch_cannot_be_released(desk: Desk, tenant: str) -> None:
    batch_id = "batch_none" if tenant == TENANT else desk.validated(requests(10), metadata=CARBON).id
    with pytest.raises(NotFound):
        deferral.release(desk.context, tenant, batch_id)
    assert rung(desk) == []


def test_an_ended_batch_says_nothing_of_plans(desk: Desk) -> None:
    batch = desk.validated(requests(10), metadata=CARBON)
    batches.cancel(desk.context, TENANT, batch.id)
    with desk.context.database.transaction() as connection:
        set_cells(connection, batch.id, status=BatchStatus.CANCELLED)
    found = shown(desk, batch.id)
    assert {found[name] for name in PLAN_FIELDS} == {None}
