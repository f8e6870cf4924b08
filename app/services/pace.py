"""How much a worker leases: enough to keep its engine full, and no more ahead than it finishes within a lease."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

AHEAD_S = 10.0
"""Requests that wait before the engine cover this long, or its slots once over: no lease takes as long."""

SHARED_AHEAD_S = 0.5
"""The same, with half of the slots, where several tenants share the worker: whoever comes newly waits behind these
requests, whosever turn it is."""

REMEMBERED_S = 60.0
"""The rate of a worker is that of the last minute in which it had something to do."""

PROBE_S = 0.5


class Hold:
    """What one shard takes of its worker's room."""

    def __init__(self, pace: Pace, limit: int) -> None:
        self.limit = limit
        """Requests that may be leased."""
        self._pace = pace
        self._held = limit

    def took(self, requests: int) -> None:
        """So many were leased: the rest is others'."""
        self._pace._release(self._held - requests)
        self._held = requests

    def answered(self, requests: int) -> None:
        self._held -= requests
        self._pace._answered(requests)

    def end(self) -> None:
        self.took(0)


class Pace:
    """Thread-safe: one for all shards of a worker."""

    def __init__(
        self, *, slots: int, largest: int, lease_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.slots = slots
        """Requests that the engine runs at once."""
        self.is_shared = False
        """Whether there are several tenants."""
        self._largest = largest
        """Requests of the largest shard. Who leases one holds no more room, so that others lease at the same time."""
        self._quantum = max(slots // 2, 1)
        self._lease_s = lease_s
        self._clock = clock
        self._changed = threading.Condition()
        self._held = 0
        self._since = clock()
        self._busy_s = 0.0
        self._recent: deque[tuple[float, int]] = deque()
        """Busy seconds so far and number of answers, for each group."""

    @property
    def smallest(self) -> int:
        """The least that is worth a lease: a quarter of the slots."""
        return max(self.slots // 4, 1)

    @property
    def is_starved(self) -> bool:
        """Whether half of the engine's slots have nothing to run."""
        with self._changed:
            return self._held <= self.slots - self._quantum

    @property
    def is_idle(self) -> bool:
        """Whether nothing is leased."""
        with self._changed:
            return self._held == 0

    @contextmanager
    def hold(self, stopping: threading.Event) -> Iterator[Hold]:
        """Wait for room worth a lease; the block keeps what a shard needs of it. Room for nothing when the worker
        stops."""
        with self._changed:
            while not stopping.is_set() and self._room() < self._quantum:
                self._changed.wait(PROBE_S)
            room = 0 if stopping.is_set() else min(self._room(), self._largest)
            self._hold(room)
        hold = Hold(self, room)
        try:
            yield hold
        finally:
            hold.end()

    def _room(self) -> int:
        rate = self._rate_per_s()
        ahead_s, least = (SHARED_AHEAD_S, self._quantum) if self.is_shared else (AHEAD_S, self.slots)
        ahead = least if rate is None else min(rate * self._lease_s, max(rate * ahead_s, least))
        return self.slots + int(ahead) - self._held

    def _rate_per_s(self) -> float | None:
        """Answers in a busy second; None before the first."""
        self._hold(0)
        start_s = max(self._busy_s - REMEMBERED_S, 0.0)
        while self._recent and self._recent[0][0] < start_s:
            self._recent.popleft()
        if not self._recent:
            return None
        return sum(answers for _, answers in self._recent) / max(self._busy_s - start_s, 1e-3)

    def _hold(self, requests: int) -> None:
        now = self._clock()
        if self._held:
            self._busy_s += now - self._since
        self._since = now
        self._held += requests

    def _answered(self, requests: int) -> None:
        with self._changed:
            self._hold(-requests)
            self._recent.append((self._busy_s, requests))
            self._changed.notify_all()

    def _release(self, requests: int) -> None:
        with self._changed:
            self._hold(-requests)
            self._changed.notify_all()
