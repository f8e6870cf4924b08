"""What the directive optimizer chooses from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class LevelOption:
    """What is expected of one level in one workload, per request."""

    energy_j: float
    device_s: float
    gain: float = 0.0
    """What may be claimed of its quality minus L0's; 0 at L0."""
    correctness_gain: float = 0.0
    """And of how often it is right; 0 at L0, and where that is not known."""


@dataclass(frozen=True, kw_only=True)
class WorkloadOptions:
    """The levels that may be used in a workload, or in one stratum of it; L0 is always among them."""

    workload: str
    """The name that its mix goes by."""
    floor: str
    """The workload whose floor covers it: itself, unless it is a stratum."""
    share: float
    """Share of the traffic, not negative. When all are 0 they count as equal."""
    base_quality: float
    """q_w0."""
    base_correctness: float = 0.0
    """c_w0; 0 where there are no reference answers."""
    levels: Mapping[int, LevelOption]
