"""Splitting the joules of a window over the requests that ran in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.domain.calibration import Costs


@dataclass(frozen=True, kw_only=True)
class Use:
    """What a request, or idleness, used of the hardware."""

    energy_j: float = 0.0
    device_s: float = 0.0

    def __add__(self, other: Use) -> Use:
        return Use(energy_j=self.energy_j + other.energy_j, device_s=self.device_s + other.device_s)


@dataclass(frozen=True, kw_only=True)
class Work:
    """What an engine did for a request within a window; nothing is negative."""

    place_s: float = 0.0
    """Seconds for which it held a place in the running batch, times the places."""
    prefill_tokens: int = 0
    """Tokens of the prompt that were computed: without those from a prefix cache."""
    decode_tokens: int = 0


class Attribution:
    """Accumulates each running request's part of successive windows.

    A window is split in proportion to the work done in it; without any work all of it is idle. By construction
    attributed plus idle use equals what the windows measured.
    """

    def __init__(self) -> None:
        self._open: dict[str, Use] = {}

    def add_window(self, use: Use, work: Mapping[str, Work], costs: Costs | None = None) -> Use:
        """Split `use` over the keys of `work`; returns what was idle.

        By what the tokens cost where that is known, else by the time in the running batch: without `costs`, and in a
        window in which requests ran but none finished a token.
        """
        weights = _weights(work, costs)
        total = sum(weights.values())
        if total <= 0:
            return use
        for key, amount in weights.items():
            share = amount / total
            part = Use(energy_j=use.energy_j * share, device_s=use.device_s * share)
            self._open[key] = self._open.get(key, Use()) + part
        return Use()

    def take(self, key: str) -> Use:
        """All that `key` used, forgotten afterwards."""
        return self._open.pop(key, Use())


def _weights(work: Mapping[str, Work], costs: Costs | None) -> Mapping[str, float]:
    if costs is not None:
        by_tokens = {key: costs.of_tokens_j(done.prefill_tokens, done.decode_tokens) for key, done in work.items()}
        if sum(by_tokens.values()) > 0:
            return by_tokens
    return {key: done.place_s for key, done in work.items()}
