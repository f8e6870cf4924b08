"""Profiles: what a request of a workload uses at a level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Mean use of a request, with the standard deviation between requests."""

    workload: str
    level: int
    requests: int
    energy_j: float
    energy_sd_j: float
    device_s: float
    device_sd_s: float


def pooled(profiles: Sequence[Profile], workload: str) -> Profile:
    """Profiles of one level as that of `workload`: means weighted by requests, and a spread that holds the one between
    them. There must be at least one."""
    requests = sum(profile.requests for profile in profiles)
    energy_j = sum(profile.requests * profile.energy_j for profile in profiles) / requests
    device_s = sum(profile.requests * profile.device_s for profile in profiles) / requests
    return Profile(
        workload=workload,
        level=profiles[0].level,
        requests=requests,
        energy_j=energy_j,
        energy_sd_j=_spread([(p.requests, p.energy_j - energy_j, p.energy_sd_j) for p in profiles]),
        device_s=device_s,
        device_sd_s=_spread([(p.requests, p.device_s - device_s, p.device_sd_s) for p in profiles]),
    )


def _spread(parts: Sequence[tuple[int, float, float]]) -> float:
    """Standard deviation of a sample from the size, the distance to the common mean and the deviation of its parts."""
    squares = sum((number - 1) * sd * sd + number * distance * distance for number, distance, sd in parts)
    number = sum(number for number, _, _ in parts)
    return float((squares / (number - 1)) ** 0.5) if number > 1 else 0.0
