"""What every service is given."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from app.domain.footprint import Hardware
from app.ports import Clock, Dispatcher, Tokenizer
from app.settings import Settings
from app.store.blobs import FileStore
from app.store.database import Database


class SystemClock:
    """The machine's clock; for rehearsals one that runs `speed` times as fast from the real moment `start` on."""

    def __init__(self, *, speed: float = 1.0, start: datetime | None = None) -> None:
        self._speed = speed
        self._start = start

    def now(self) -> datetime:
        real = datetime.now(UTC)
        return real if self._start is None else self._start + (real - self._start) * self._speed

    def monotonic(self) -> float:
        return time.monotonic() * self._speed


@dataclass(frozen=True, kw_only=True)
class Context:
    settings: Settings
    database: Database
    files: FileStore
    dispatcher: Dispatcher
    clock: Clock
    tokenizer: Callable[[], Tokenizer | None]
    """Loads on first use; None when the engine is remote and no tokenizer of its model is at hand."""

    @property
    def hardware(self) -> Hardware:
        settings = self.settings
        # Device-seconds are those of the context's clock, and a rehearsal's pass faster than a device wears.
        lifetime_s = settings.lifetime_s * settings.clock_speed
        return Hardware(pue=settings.pue, embodied_g=settings.embodied_g, lifetime_s=lifetime_s)
