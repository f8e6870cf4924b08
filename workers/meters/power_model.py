"""Energy where there is no sensor: a straight line between a machine's idle and busy power."""

from __future__ import annotations

import time
from collections.abc import Callable

from app.domain.errors import ConfigurationError
from app.ports import EnergyBasis


class PowerModelMeter:
    """Joules since construction: `idle_w` all the time, and `busy_w` instead of it for each second that was busy."""

    def __init__(
        self, idle_w: float, busy_w: float, busy_s: Callable[[], float], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`busy_s` is an engine's: cumulative seconds at full load.

        Raises:
            ConfigurationError: a power is negative, or the busy power is below the idle power.
        """
        if not 0 <= idle_w <= busy_w:
            raise ConfigurationError(
                f"The power model of {idle_w:g} W idle and {busy_w:g} W busy is impossible: give 0 <= idle <= busy."
            )
        self._idle_w = idle_w
        self._extra_w = busy_w - idle_w
        self._busy_s = busy_s
        self._clock = clock
        self._started = clock()
        self._busy_before_s = busy_s()

    @property
    def basis(self) -> EnergyBasis:
        return "modelled"

    def energy_j(self) -> float:
        elapsed_s = self._clock() - self._started
        return self._idle_w * elapsed_s + self._extra_w * (self._busy_s() - self._busy_before_s)
