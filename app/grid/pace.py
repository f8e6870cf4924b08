"""Real time, and how many requests a second a source is asked at most."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import Protocol

from app.ports import Clock


class Time(Clock, Protocol):
    def pause(self, seconds: float) -> None:
        """Return when `seconds` have passed."""
        ...


class RealTime:
    """The machine's own time, in rehearsals too: a source on the network knows no other."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)


class Pace:
    """Spaces requests evenly. Thread-safe."""

    def __init__(self, per_second: float, clock: Time) -> None:
        self._interval_s = 1 / per_second
        self._clock = clock
        self._lock = threading.Lock()
        self._free_at = clock.monotonic()

    def wait(self) -> None:
        """Return when the next request may be sent."""
        with self._lock:
            now = self._clock.monotonic()
            own = max(now, self._free_at)
            self._free_at = own + self._interval_s
        if own > now:
            self._clock.pause(own - now)
