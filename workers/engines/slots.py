"""Places in the running batch: who holds them, for how long, and how long any was held."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass
class _Holder:
    places: int
    since: float
    """When it took them, or when its work was drained last."""


class Slots:
    """`count` places, given out first come first served. `hold` belongs to one event loop, the rest to any thread."""

    def __init__(self, count: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._count = self._free = count
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._clock = clock
        self._lock = threading.Lock()
        self._held: dict[str, _Holder] = {}
        self._work: dict[str, float] = {}
        self._busy_s = 0.0
        self._busy_since = clock()

    @asynccontextmanager
    async def hold(self, key: str, places: int) -> AsyncIterator[None]:
        """Wait for `places` of the places (at most all of them) and keep them."""
        places = min(places, self._count)
        if self._waiting or places > self._free:
            await self._turn(places)
        else:
            self._free -= places
        try:
            self._begin(key, places)
            try:
                yield
            finally:
                self._end(key)
        finally:
            self._give_back(places)

    async def _turn(self, places: int) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((places, turn))
        try:
            await turn
        except asyncio.CancelledError:
            # Its turn may have come already, or it may have kept those behind it waiting.
            self._give_back(0 if turn.cancelled() else places)
            raise

    def _give_back(self, places: int) -> None:
        self._free += places
        while self._waiting:
            wanted, turn = self._waiting[0]
            if not turn.cancelled():
                if wanted > self._free:
                    break
                self._free -= wanted
                turn.set_result(None)
            self._waiting.popleft()

    def _begin(self, key: str, places: int) -> None:
        with self._lock:
            now = self._clock()
            if not self._held:
                self._busy_since = now
            self._held[key] = _Holder(places, now)

    def _end(self, key: str) -> None:
        with self._lock:
            now = self._clock()
            self._count_work(key, self._held.pop(key), now)
            if not self._held:
                self._busy_s += now - self._busy_since

    def drain(self) -> dict[str, float]:
        """Place-seconds per key since the previous call; keys that never held a place are absent."""
        with self._lock:
            now = self._clock()
            for key, holder in self._held.items():
                self._count_work(key, holder, now)
                holder.since = now
            work, self._work = self._work, {}
            return work

    def busy_s(self) -> float:
        """Cumulative seconds with at least one place held."""
        with self._lock:
            return self._busy_s + (self._clock() - self._busy_since if self._held else 0.0)

    def _count_work(self, key: str, holder: _Holder, now: float) -> None:
        self._work[key] = self._work.get(key, 0.0) + (now - holder.since) * holder.places
