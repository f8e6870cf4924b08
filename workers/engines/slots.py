"""Places in the running batch: who holds them, for how long, and how long any was held."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager


class Slots:
    """`count` places, given out first come first served. `hold` belongs to one event loop, the rest to any thread."""

    def __init__(self, count: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._count = count
        self._free = asyncio.Semaphore(count)
        self._door = asyncio.Lock()
        self._clock = clock
        self._lock = threading.Lock()
        self._held: dict[str, int] = {}
        self._since = clock()
        self._work: dict[str, float] = {}
        self._busy_s = 0.0

    @asynccontextmanager
    async def hold(self, key: str, places: int) -> AsyncIterator[None]:
        """Wait for `places` of the places (at most all of them) and keep them."""
        places = min(places, self._count)
        async with AsyncExitStack() as taken:
            async with self._door:
                for _ in range(places):
                    await taken.enter_async_context(self._free)
            with self._lock:
                self._advance()
                self._held[key] = places
            try:
                yield
            finally:
                with self._lock:
                    self._advance()
                    del self._held[key]

    def drain(self) -> dict[str, float]:
        """Place-seconds per key since the previous call; keys that never held a place are absent."""
        with self._lock:
            self._advance()
            work, self._work = self._work, {}
            return work

    def busy_s(self) -> float:
        """Cumulative seconds with at least one place held."""
        with self._lock:
            self._advance()
            return self._busy_s

    def _advance(self) -> None:
        now = self._clock()
        elapsed, self._since = now - self._since, now
        if self._held:
            self._busy_s += elapsed
        for key, places in self._held.items():
            self._work[key] = self._work.get(key, 0.0) + elapsed * places
