"""A clock that stands still until a test moves it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
"""A Monday, on the hour: where a `FakeClock` starts."""


class FakeClock:
    """The Clock port. Set `moment`, or advance it."""

    def __init__(self, moment: datetime = NOON) -> None:
        self.moment = moment
        self._latest = 0.0

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        """Seconds of `moment` that never go back."""
        self._latest = max(self._latest, self.moment.timestamp())
        return self._latest

    def advance(self, duration: timedelta | None = None, **amounts: float) -> datetime:
        """Move on by `duration`, or by `hours=1`, `seconds=0.5` and the like; returns the new present."""
        self.moment += timedelta(**amounts) if duration is None else duration
        return self.moment


class TickingClock(FakeClock):
    """Every look at it takes a moment."""

    def now(self) -> datetime:
        return self.advance(milliseconds=20)

    def monotonic(self) -> float:
        self.advance(milliseconds=20)
        return super().monotonic()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()
