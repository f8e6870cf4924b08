from __future__ import annotations

from datetime import UTC, datetime

import pytest

from app.grid.pace import Pace, RealTime
from tests.support.grid_server import GridClock


def test_requests_are_spaced() -> None:
    clock = GridClock()
    pace = Pace(4, clock)
    for _ in range(5):
        pace.wait()
    assert clock.pauses == [pytest.approx(0.25)] * 4


def test_who_comes_later_need_not_wait() -> None:
    clock = GridClock()
    pace = Pace(4, clock)
    for _ in range(3):
        pace.wait()
        clock.advance(seconds=1)
    assert clock.pauses == []


def test_real_time_passes() -> None:
    time = RealTime()
    before = time.now(), time.monotonic()
    time.pause(0.001)
    assert before[0] < time.now() <= datetime.now(UTC)
    assert time.monotonic() >= before[1] + 0.001
