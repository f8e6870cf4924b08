"""How much workers can do, by what they metered."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import pytest

from app.services import capacity
from app.services.capacity import ASSUMED, Capacity
from tests.support.clock import NOON, FakeClock
from tests.support.engine import EchoEngine
from tests.support.factories import MODEL
from tests.support.services import Desk, Desks


@pytest.fixture
def desk(desks: Desks) -> Desk:
    return desks.desk(zone="A", zones=("A", "B"))


def measured(desk: Desk) -> Mapping[str, Capacity]:
    with desk.context.database.transaction() as connection:
        return capacity.measured(connection, desk.context.settings, desk.clock.now(), MODEL)


def devices(desk: Desk, zone: str = "A") -> float:
    return measured(desk)[zone].devices


def ago(**amounts: float) -> dict[str, object]:
    return {"ended_at": NOON - timedelta(**amounts), "zone": "A"}


def test_before_any_worker_was_seen_one_device_is_assumed_at_home(desk: Desk) -> None:
    assert measured(desk) == {"A": ASSUMED}
    assert (ASSUMED.devices, ASSUMED.idle_w, ASSUMED.is_measured) == (1.0, 0.0, False)


def test_the_workers_of_a_zone_add_up_and_zones_are_apart(desk: Desk) -> None:
    desk.see(zone="A", worker="one")
    desk.see(zone="A", worker="two", device_s=20.0)
    desk.see(zone="B", worker="three", device_s=40.0)
    desk.see(zone="C", worker="elsewhere")
    found = measured(desk)
    assert {zone: (known.devices, known.is_measured) for zone, known in found.items()} == {
        "A": (3.0, True),
        "B": (4.0, True),
    }


def test_a_worker_counts_by_its_newest_window(desk: Desk) -> None:
    desk.see(worker="one", device_s=10.0, **ago(minutes=5))
    desk.see(worker="one", device_s=40.0, **ago(minutes=1))
    desk.see(worker="one", device_s=80.0, **ago(minutes=9))
    assert devices(desk) == 4.0


def test_a_worker_is_gone_ten_minutes_after_the_others_were_seen_last(desk: Desk) -> None:
    desk.see(worker="here", **ago())
    desk.see(worker="there", **ago(minutes=10))
    desk.see(worker="gone", **ago(minutes=10, seconds=1))
    assert devices(desk) == 2.0


def test_while_nobody_is_seen_those_that_were_there_last_count_for_a_day(desk: Desk) -> None:
    desk.see(worker="one", **ago(hours=23))
    desk.see(worker="two", **ago(hours=23, minutes=9))
    desk.see(worker="three", **ago(hours=23, minutes=11))
    assert devices(desk) == 2.0
    desk.clock.advance(hours=1, seconds=1)
    assert measured(desk)["A"] == ASSUMED


def test_only_zones_where_workers_are_seen_are_there(desk: Desk) -> None:
    """Not even the default one is, if nobody works there and somebody does elsewhere."""
    desk.see(zone="B", worker="b")
    assert set(measured(desk)) == {"B"}
    desk.see(zone="A", worker="a")
    assert set(measured(desk)) == {"A", "B"}
    desk.clock.advance(minutes=11)
    desk.see(zone="A", worker="a")
    assert set(measured(desk)) == {"A"}


def test_while_nobody_is_seen_anywhere_the_zones_of_the_past_day_are_there(desk: Desk) -> None:
    for zone in ("A", "B"):
        desk.see(zone=zone, worker=zone)
    desk.clock.advance(hours=23)
    assert set(measured(desk)) == {"A", "B"}
    desk.clock.advance(hours=2)
    assert {zone: found.is_measured for zone, found in measured(desk).items()} == {"A": False}


def test_a_window_of_no_length_says_nothing(desk: Desk) -> None:
    """So is one that was stored after the clock had been set back."""
    desk.see(worker="one", **ago(minutes=1))
    desk.see(worker="one", started_at=NOON, ended_at=NOON, device_s=3600.0, zone="A")
    desk.see(worker="two", started_at=NOON, ended_at=NOON, device_s=3600.0, zone="A")
    assert devices(desk) == 1.0


def test_watts_of_an_idle_device_are_those_of_the_idle_time(desk: Desk) -> None:
    desk.see(worker="one", energy_j=1000.0, idle_energy_j=200.0, idle_device_s=4.0, zone="A")
    desk.see(worker="two", energy_j=1000.0, idle_energy_j=100.0, idle_device_s=6.0, zone="A")
    desk.see(worker="busy", zone="A")
    desk.see(worker="three", energy_j=900.0, idle_energy_j=900.0, idle_device_s=1.0, zone="B")
    found = measured(desk)
    assert (found["A"].idle_w, found["B"].idle_w) == (30.0, 900.0)


def test_without_idleness_a_device_is_taken_to_need_nothing(desk: Desk) -> None:
    desk.see(zone="A")
    assert measured(desk)["A"].idle_w == 0.0


def test_a_worker_without_devices_is_no_capacity(desk: Desk) -> None:
    desk.see(zone="A", device_s=0.0)
    assert measured(desk)["A"] == ASSUMED


class SteppedClock(FakeClock):
    """Is set by `step`; the seconds that pass do not show it."""

    def __init__(self) -> None:
        super().__init__()
        self.step = timedelta()

    def now(self) -> datetime:
        return super().now() + self.step


@pytest.mark.parametrize("step", [timedelta(hours=8), timedelta(seconds=9), timedelta(seconds=-9), timedelta(hours=-1)])
def test_a_clock_that_is_set_changes_nothing(desks: Desks, engine: EchoEngine, step: timedelta) -> None:
    """Nor does a machine that slept."""
    desks.clock = clock = SteppedClock()
    desk = desks.desk()
    accountant = desk.worker(engine).accountant
    clock.advance(seconds=10)
    clock.step = step
    accountant.settle()
    assert [known.devices for known in measured(desk).values()] == pytest.approx([1.0])


def test_a_clock_that_was_set_back_forgets_nobody(desk: Desk) -> None:
    desk.see(worker="one", zone="A")
    desk.clock.advance(hours=-2)
    assert devices(desk) == 1.0
