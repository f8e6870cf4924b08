"""What every service is given."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property

from app.domain.footprint import Hardware
from app.domain.hardware import CPU_SERVER, DEVICES, Device
from app.ports import Clock, Dispatcher, FileStore, Tokenizer
from app.settings import Settings
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

    @cached_property
    def device(self) -> Device:
        """Each of the engine's: what is known of its kind, and what the settings know better."""
        settings = self.settings
        known = DEVICES[settings.hardware or CPU_SERVER]
        stated = {name: getattr(settings, name) for name in vars(known)}
        return replace(known, **{name: figure for name, figure in stated.items() if figure is not None})

    @cached_property
    def hardware(self) -> Hardware:
        device, settings = self.device, self.settings
        # Device-seconds are those of the context's clock, and a rehearsal's pass faster than a device wears.
        lifetime_s = device.lifetime_s * settings.clock_speed
        return Hardware(pue=settings.pue, embodied_g=device.embodied_g, lifetime_s=lifetime_s)
