"""Splitting the joules of a window over the requests that ran in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Use:
    """What a request, or idleness, used of the hardware."""

    energy_j: float = 0.0
    device_s: float = 0.0

    def __add__(self, other: Use) -> Use:
        return Use(energy_j=self.energy_j + other.energy_j, device_s=self.device_s + other.device_s)


class Attribution:
    """Accumulates each running request's part of successive windows.

    A window is split in proportion to the work done in it; without any work all of it is idle. By construction
    attributed plus idle use equals what the windows measured.
    """

    def __init__(self) -> None:
        self._open: dict[str, Use] = {}

    def add_window(self, use: Use, work: Mapping[str, float]) -> Use:
        """Split `use` over the keys of `work`; returns what was idle."""
        total = sum(work.values())
        if total <= 0:
            return use
        for key, amount in work.items():
            share = amount / total
            part = Use(energy_j=use.energy_j * share, device_s=use.device_s * share)
            self._open[key] = self._open.get(key, Use()) + part
        return Use()

    def take(self, key: str) -> Use:
        """All that `key` used, forgotten afterwards."""
        return self._open.pop(key, Use())
