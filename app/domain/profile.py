"""Profiles: what a request of a workload uses at a level."""

from __future__ import annotations

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
