"""Running a suspect shard alone in its worker."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Isolation:
    """Shards run side by side, but a suspect runs alone: if the worker dies then, no other shard can be to blame, and
    none is lost with it. A waiting suspect goes before shards that come after it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running = 0
        self._waiting_suspects = 0
        self._alone = False

    @contextmanager
    def hold(self, *, alone: bool) -> Iterator[None]:
        """Wait for a place, and keep it during the block."""
        with self._changed:
            if alone:
                self._waiting_suspects += 1
                self._changed.wait_for(lambda: self._running == 0)
                self._waiting_suspects -= 1
            else:
                self._changed.wait_for(lambda: not (self._alone or self._waiting_suspects))
            self._running += 1
            self._alone = alone
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._alone = False
                self._changed.notify_all()
