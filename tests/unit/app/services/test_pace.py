from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.services.pace import AHEAD_S, REMEMBERED_S, Hold, Pace
from tests.support.waiting import eventually

SLOTS, LARGEST, LEASE_S = 100, 1000, 60.0


class Seconds:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def pace(seconds: Seconds) -> Pace:
    return Pace(slots=SLOTS, largest=LARGEST, lease_s=LEASE_S, clock=seconds)


@pytest.fixture
def going() -> threading.Event:
    return threading.Event()


@pytest.fixture
def holds(pace: Pace, going: threading.Event) -> Iterator[Hold]:
    with pace.hold(going) as hold:
        yield hold


def room(pace: Pace, going: threading.Event) -> int:
    with pace.hold(going) as hold:
        return hold.limit


def test_a_new_worker_leases_as_much_again_as_its_engine_runs(pace: Pace, going: threading.Event) -> None:
    assert room(pace, going) == 2 * SLOTS
    assert room(pace, going) == 2 * SLOTS, "what is not taken is free again"


def test_what_is_leased_takes_room_until_it_is_answered(pace: Pace, holds: Hold, going: threading.Event) -> None:
    holds.took(120)
    assert room(pace, going) == 80
    holds.answered(20)
    holds.end()
    assert room(pace, going) > 80


def test_a_fast_worker_leases_what_it_does_in_ten_seconds(
    pace: Pace, holds: Hold, seconds: Seconds, going: threading.Event
) -> None:
    holds.took(100)
    seconds.now += 2
    holds.answered(100)
    assert room(pace, going) == SLOTS + 50 * AHEAD_S


def test_who_leases_leaves_room_to_others(pace: Pace, holds: Hold, seconds: Seconds, going: threading.Event) -> None:
    seconds.now += 1
    holds.answered(200)
    holds.end()
    with pace.hold(going) as one, pace.hold(going) as other:
        assert (one.limit, other.limit) == (LARGEST, LARGEST)
    assert room(pace, going) == LARGEST


def test_a_slow_worker_leases_no_more_ahead_than_it_finishes_within_a_lease(
    pace: Pace, holds: Hold, seconds: Seconds, going: threading.Event
) -> None:
    holds.took(100)
    seconds.now += 50
    holds.answered(50)
    assert room(pace, going) == SLOTS + LEASE_S - 50


def test_idle_time_does_not_make_a_worker_slow(pace: Pace, seconds: Seconds, going: threading.Event) -> None:
    for _ in range(2):
        with pace.hold(going) as hold:
            hold.took(50)
            seconds.now += 1
            hold.answered(50)
        seconds.now += 1000
    assert room(pace, going) == SLOTS + 50 * AHEAD_S


def test_only_the_last_minute_counts(pace: Pace, holds: Hold, seconds: Seconds, going: threading.Event) -> None:
    holds.took(200)
    seconds.now += 1
    holds.answered(60)
    seconds.now += REMEMBERED_S + 1
    holds.answered(60)
    assert room(pace, going) == SLOTS + LEASE_S - 80


def test_who_finds_no_room_worth_a_lease_waits_for_it(pace: Pace, holds: Hold, going: threading.Event) -> None:
    holds.took(2 * SLOTS - SLOTS // 2 + 1)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(room, pace, going)
        eventually(lambda: pace._changed._waiters)  # type: ignore[attr-defined]
        assert not waiting.done()
        holds.took(2 * SLOTS - SLOTS // 2)
        assert waiting.result(timeout=10) == SLOTS // 2


def test_who_waits_when_the_worker_stops_gets_nothing(pace: Pace, holds: Hold, going: threading.Event) -> None:
    holds.took(2 * SLOTS)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(room, pace, going)
        going.set()
        assert waiting.result(timeout=10) == 0


@pytest.mark.parametrize(("held", "starved"), [(0, True), (50, True), (51, False), (200, False)])
def test_a_worker_is_starved_when_half_of_its_slots_are_free(pace: Pace, holds: Hold, held: int, starved: bool) -> None:
    holds.took(held)
    assert pace.is_starved is starved


def test_the_smallest_engine_works_too(going: threading.Event) -> None:
    pace = Pace(slots=1, largest=LARGEST, lease_s=LEASE_S)
    assert pace.smallest == 1
    with pace.hold(going) as hold:
        assert hold.limit == 2
        hold.took(1)
        assert room(pace, going) == 1
