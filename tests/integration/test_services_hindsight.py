"""A first plan held against what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from app.domain.batch import Schedule
from app.domain.intensity import HOUR
from app.services import deferral, reconciliation, reporting
from app.services.hindsight import Hindsight
from app.store import intensity, requests, results
from app.store.batches import Batch
from app.store.database import TENANT
from tests.support.clock import NOON
from tests.support.engine import EchoEngine
from tests.support.factories import a_request, a_result, line, store_batch
from tests.support.grid import a_point
from tests.support.services import Desk, Desks, jsonl

KWH = 3.6e6
HOURS = [300.0, 200.0, 100.0, 50.0]
"""What came, from noon on, in zone A; in zone B it was 40 at two o'clock."""


def planned(hour: int, requests: int, zone: str = "A") -> dict[str, Any]:
    return {
        "start": (NOON + hour * HOUR).isoformat(), "zone": zone, "requests": requests, "intensity_g_per_kwh": 90.0,
        "footprint_g": 90.0 * requests,
    }  # fmt: skip


def first_plan(**changes: Any) -> dict[str, Any]:
    """Ten requests of a kilowatt-hour each in the third hour instead of in the first."""
    return {
        "planned_at": NOON.isoformat(), "requests": 10, "footprint_g": 900.0, "intensity_basis": "lifecycle-average",
        "requests_per_h": 10.0, "hours": [planned(2, 10)], "at_once": [planned(0, 10)], **changes,
    }  # fmt: skip


def ran(hour: float, grams: float, zone: str = "A", **changes: Any) -> dict[str, Any]:
    """A request of a kilowatt-hour."""
    return {
        "finished_at": NOON + hour * HOUR, "zone": zone, "intensity_g_per_kwh": grams, "energy_j": KWH,
        "operational_g": grams, "embodied_g": 1.0, **changes,
    }  # fmt: skip


@pytest.fixture
def desk(desks: Desks) -> Desk:
    desk = desks.desk(zone="A", zones=("A", "B"))
    with desk.context.database.transaction() as connection:
        figures = [a_point(hour, grams, zone="A") for hour, grams in enumerate(HOURS)]
        intensity.put(connection, figures, NOON)
        intensity.put(connection, [a_point(2, 40.0, zone="B")], NOON)
    return desk


def store(desk: Desk, rows: Sequence[dict[str, Any]], **changes: Any) -> Batch:
    values: dict[str, Any] = {
        "first_plan": first_plan(),
        "schedule": Schedule.CARBON,
        "in_progress_at": NOON,
        **changes,
    }
    with desk.context.database.transaction() as connection:
        batch = store_batch(connection, lines=[a_request(number) for number in range(1, len(rows) + 1)], **values)
        results.record(connection, [a_result(batch, number, **row) for number, row in enumerate(rows, 1)])
    return batch


def look_back(desk: Desk, rows: Sequence[dict[str, Any]], **changes: Any) -> Hindsight | None:
    return reporting.report(desk.context, TENANT, store(desk, rows, **changes).id).hindsight


def found(desk: Desk, rows: Sequence[dict[str, Any]], **changes: Any) -> Hindsight:
    hindsight = look_back(desk, rows, **changes)
    assert hindsight is not None
    return hindsight


def test_a_plan_that_was_kept(desk: Desk) -> None:
    hindsight = found(desk, [ran(2.5, 100.0)] * 10)
    assert (hindsight.schedule, hindsight.intensity_basis) == (Schedule.CARBON, "lifecycle-average")
    assert (hindsight.planned_g, hindsight.actual_g, hindsight.share_as_planned) == (900.0, 1010.0, 1.0)
    assert hindsight.at_once_g == pytest.approx(3010.0)
    assert hindsight.cleanest_g == pytest.approx(510.0)


def test_what_ran_in_other_hours_or_zones_was_not_as_promised(desk: Desk) -> None:
    rows = [*[ran(2.9, 100.0)] * 4, *[ran(1.0, 200.0)] * 3, *[ran(2.0, 40.0, "B")] * 3]
    assert found(desk, rows).share_as_planned == pytest.approx(0.4)


def test_a_part_of_a_batch_is_held_against_the_plan_of_as_many(desk: Desk) -> None:
    hindsight = found(desk, [ran(2.0, 100.0)] * 4)
    assert (hindsight.planned_g, hindsight.share_as_planned) == (360.0, 1.0)
    assert hindsight.at_once_g == pytest.approx(4 * 301)


def test_failed_requests_that_ran_count_and_those_that_never_ran_do_not(desk: Desk) -> None:
    batch = store(desk, [*[ran(2.0, 100.0)] * 3, ran(2.0, 100.0, status_code=400)])
    with desk.context.database.transaction() as connection:
        lost = [a_request(number) for number in (5, 6)]
        requests.copy_in(connection, tenant=TENANT, batch_id=batch.id, entries=lost)
        results.fail_unanswered(connection, batch.id, code="batch_expired", message="Late.", now=NOON)
    hindsight = reporting.report(desk.context, TENANT, batch.id).hindsight
    assert hindsight is not None
    assert (hindsight.actual_g, hindsight.planned_g, hindsight.share_as_planned) == (404.0, 360.0, 1.0)


def test_the_cleanest_hours_hold_no_more_than_the_machine_can_run(desk: Desk) -> None:
    hindsight = found(desk, [ran(2.0, 100.0)] * 10, first_plan=first_plan(requests_per_h=4.0))
    assert hindsight.cleanest_g == pytest.approx(4 * 50 + 4 * 100 + 2 * 200 + 10)


def test_of_the_first_hour_only_what_was_left_counts(desk: Desk) -> None:
    begun = first_plan(planned_at=(NOON + 3.5 * HOUR).isoformat(), requests_per_h=4.0, at_once=[planned(3, 10)])
    hindsight = found(desk, [ran(3.6, 50.0)] * 2, first_plan=begun, in_progress_at=NOON + 3.5 * HOUR)
    assert hindsight.cleanest_g == pytest.approx(2 * 51)
    assert hindsight.at_once_g == pytest.approx(2 * 51)


def test_the_cleanest_hour_may_be_in_another_zone(desk: Desk) -> None:
    hindsight = found(desk, [ran(2.0, 40.0, "B")] * 10, zones=("A", "B"))
    assert hindsight.cleanest_g == pytest.approx(410.0)
    assert hindsight.at_once_g == pytest.approx(3010.0)


def test_a_batch_that_may_not_run_at_home_is_held_against_running_there_at_once(desk: Desk) -> None:
    hindsight = found(desk, [ran(2.0, 40.0, "B")] * 10, zones=("B",))
    assert hindsight.at_once_g == pytest.approx(3010.0)
    assert hindsight.cleanest_g == pytest.approx(410.0), "a zone in which it may not run counts as possible"


def test_figures_are_those_that_are_known_by_now(desk: Desk) -> None:
    batch = store(desk, [ran(2.0, 100.0)] * 10)
    with desk.context.database.transaction() as connection:
        intensity.put(connection, [a_point(0, 1000.0, zone="A")], NOON)
    hindsight = reporting.report(desk.context, TENANT, batch.id).hindsight
    assert hindsight is not None
    assert hindsight.at_once_g == pytest.approx(10_010.0)


def test_where_an_hour_is_missing_nothing_is_made_up(desk: Desk) -> None:
    hindsight = found(desk, [ran(2.0, 100.0)] * 10, first_plan=first_plan(at_once=[planned(0, 5), planned(9, 5)]))
    assert hindsight.at_once_g is None
    assert hindsight.cleanest_g == pytest.approx(510.0)


def test_where_no_hour_is_known_nothing_is_made_up(desks: Desks) -> None:
    desk = desks.desk(zone="A")
    hindsight = found(desk, [ran(2.0, 100.0)] * 10)
    assert (hindsight.at_once_g, hindsight.cleanest_g, hindsight.actual_g) == (None, None, 1010.0)


@pytest.mark.parametrize("changes", [{"first_plan": None}, {"first_plan": None, "schedule": Schedule.ASAP}])
def test_a_batch_that_was_never_planned_has_no_hindsight(desk: Desk, changes: dict[str, Any]) -> None:
    assert look_back(desk, [ran(2.0, 100.0)] * 10, **changes) is None


def test_a_batch_of_which_nothing_ran_has_no_hindsight(desk: Desk) -> None:
    assert look_back(desk, []) is None
    with desk.context.database.transaction() as connection:
        batch = store_batch(connection, lines=3, first_plan=first_plan())
        results.fail_unanswered(connection, batch.id, code="batch_expired", message="Late.", now=NOON)
    assert reporting.report(desk.context, TENANT, batch.id).hindsight is None


def test_a_batch_on_two_bases_has_a_report_without_hindsight(desk: Desk) -> None:
    rows = [ran(2.0, 100.0), ran(2.0, 100.0, intensity_basis="direct-average")]
    assert look_back(desk, rows) is None


def test_a_basis_that_was_changed_after_the_plan_leaves_the_rest_of_the_report(desk: Desk) -> None:
    batch = store(desk, [ran(2.0, 100.0, intensity_basis="direct-average")] * 10)
    report = reporting.report(desk.context, TENANT, batch.id)
    assert report.hindsight is None
    assert report.levels[0].requests == 10
    assert report.l0 != []


def test_from_submission_to_report(desks: Desks, engine: EchoEngine) -> None:
    desk = desks.desk(shard_size=10)
    desk.measure()
    desk.expect([300.0, 300.0, 50.0, *[300.0] * 30])
    batch = desk.validated(jsonl(line(f"r{number}") for number in range(20)), metadata={"sprout_schedule": "carbon"})
    desk.clock.moment = NOON + 2 * HOUR
    desk.expect([80.0, *[300.0] * 30])
    deferral.replan(desk.context)
    reconciliation.reconcile(desk.context)
    desk.work(desk.worker(engine))
    hindsight = reporting.report(desk.context, TENANT, batch.id).hindsight
    assert hindsight is not None
    assert hindsight.planned_g == pytest.approx(20 * (0.01 * 50 + 36 * desk.context.hardware.embodied_g_per_device_s))
    assert hindsight.share_as_planned == 1.0
    priced = desk.rows("SELECT sum(operational_g + embodied_g) FROM results")[0]
    assert hindsight.actual_g == pytest.approx(priced)
    assert hindsight.at_once_g is not None
    assert hindsight.at_once_g / priced == pytest.approx(300 / 80, rel=0.01)
    assert hindsight.cleanest_g == pytest.approx(priced)


def test_a_released_batch_keeps_its_promise_on_record(desks: Desks, engine: EchoEngine) -> None:
    desk = desks.desk(shard_size=10)
    desk.measure()
    desk.expect([300.0, 300.0, 50.0, *[300.0] * 30])
    batch = desk.validated(jsonl([line()]), metadata={"sprout_schedule": "carbon"})
    deferral.release(desk.context, TENANT, batch.id)
    desk.work(desk.worker(engine))
    hindsight = reporting.report(desk.context, TENANT, batch.id).hindsight
    assert hindsight is not None
    assert (hindsight.schedule, hindsight.share_as_planned) == (Schedule.ASAP, 0.0)
