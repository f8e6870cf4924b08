"""How long to wait before starting a child again."""

from __future__ import annotations

from collections import deque

FIRST_DELAY_S = 0.2
LONGEST_DELAY_S = 30.0
GOOD_LIFE_S = 60.0
"""A child that lived this long is forgiven its earlier deaths."""
LOOP_DEATHS = 5
LOOP_WINDOW_S = 60.0


class Backoff:
    """The deaths of one child: the delay doubles from 0.2 s to 30 s, and goes there at once in a crash loop.

    Five deaths within 60 s are a crash loop; it ends with a life of 60 s. Takes times from any monotonic clock.
    """

    _deaths: deque[float]
    _next_delay_s: float
    _crash_loop: bool

    def __init__(self) -> None:
        self._forget()

    @property
    def crash_loop(self) -> bool:
        return self._crash_loop

    def died(self, *, started_at: float, now: float) -> float:
        """Seconds to wait after a life from `started_at` to `now`."""
        if now - started_at >= GOOD_LIFE_S:
            self._forget()
        self._deaths.append(now)
        if len(self._deaths) == LOOP_DEATHS and now - self._deaths[0] <= LOOP_WINDOW_S:
            self._crash_loop = True
        delay_s = LONGEST_DELAY_S if self._crash_loop else self._next_delay_s
        self._next_delay_s = min(2 * self._next_delay_s, LONGEST_DELAY_S)
        return delay_s

    def _forget(self) -> None:
        self._deaths = deque(maxlen=LOOP_DEATHS)
        self._next_delay_s = FIRST_DELAY_S
        self._crash_loop = False
