from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from app.services.context import SystemClock
from tests.support.waiting import eventually


def test_the_clock_is_the_machine_s() -> None:
    before, clock, began = datetime.now(UTC), SystemClock(), time.monotonic()
    assert before <= clock.now() <= datetime.now(UTC)
    assert clock.now().utcoffset() == timedelta(0)
    assert began <= clock.monotonic() <= time.monotonic()


@pytest.mark.parametrize("speed", [600.0, 0.5])
def test_in_a_rehearsal_both_clocks_run_as_fast(speed: float) -> None:
    start = datetime.now(UTC) - timedelta(seconds=10)
    clock = SystemClock(speed=speed, start=start)
    elapsed = (clock.now() - start) / timedelta(seconds=1)
    assert elapsed == pytest.approx(10 * speed, rel=0.2)
    first, first_s = clock.now(), clock.monotonic()
    eventually(lambda: clock.monotonic() - first_s >= 0.02 * speed)
    passed, passed_s = (clock.now() - first) / timedelta(seconds=1), clock.monotonic() - first_s
    assert passed == pytest.approx(passed_s, rel=0.5)
    assert passed_s >= 0.02 * speed


def test_a_rehearsal_begins_at_the_real_moment() -> None:
    """Processes that are started one after the other agree."""
    start = datetime.now(UTC)
    clocks = [SystemClock(speed=100.0, start=start) for _ in range(2)]
    first, second = (clock.now() for clock in clocks)
    assert start <= first <= second
    assert second - first < timedelta(seconds=10)


def test_before_its_start_a_rehearsal_has_not_begun() -> None:
    start = datetime.now(UTC) + timedelta(hours=1)
    assert SystemClock(speed=60.0, start=start).now() < start
