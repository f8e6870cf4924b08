"""Profiles: what a request of a workload uses at a level."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

from app.domain.workload import floor_of


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Mean use of a request, with the standard deviation between requests. Old requests weigh less in both."""

    workload: str
    level: int
    requests: float
    """Positive sum of the weights, each at most 1: never more than the number of equally good new requests, which is
    (sum of weights)^2 / (sum of their squares) by Kish, Survey Sampling, 1965."""
    energy_j: float
    energy_sd_j: float
    device_s: float
    device_sd_s: float
    completion_tokens: float

    @property
    def energy_error_j(self) -> float:
        """Standard error of the mean; infinite where it rests on one request or less.

        The deviation is the weighted one without Bessel's correction, so the root is of one request less. Wider than by
        Kish's count, as faded requests count for less here.
        """
        return self.energy_sd_j / sqrt(self.requests - 1) if self.requests > 1 else float("inf")


def pooled(profiles: Sequence[Profile], workload: str) -> Profile:
    """Profiles of one level as that of `workload`: means weighted by requests, and a spread that holds the one between
    them. There must be at least one."""
    requests = sum(profile.requests for profile in profiles)
    shares = [profile.requests / requests for profile in profiles]
    energy_j = _mean(shares, [profile.energy_j for profile in profiles])
    device_s = _mean(shares, [profile.device_s for profile in profiles])
    return Profile(
        workload=workload,
        level=profiles[0].level,
        requests=requests,
        energy_j=energy_j,
        energy_sd_j=sqrt(_mean(shares, [_square(p.energy_sd_j) + _square(p.energy_j - energy_j) for p in profiles])),
        device_s=device_s,
        device_sd_s=sqrt(_mean(shares, [_square(p.device_sd_s) + _square(p.device_s - device_s) for p in profiles])),
        completion_tokens=_mean(shares, [profile.completion_tokens for profile in profiles]),
    )


def _mean(shares: Sequence[float], values: Sequence[float]) -> float:
    return sum(share * value for share, value in zip(shares, values, strict=True))


def _square(value: float) -> float:
    # Unlike a power, a product that is too large is infinite.
    return value * value


def of_floors(profiles: Iterable[Profile]) -> Mapping[tuple[str, int], Profile]:
    """Each workload's profile at a level, pooled over its strata and what ran without one."""
    members: dict[tuple[str, int], list[Profile]] = defaultdict(list)
    for profile in profiles:
        members[floor_of(profile.workload), profile.level].append(profile)
    return {(floor, level): pooled(parts, floor) for (floor, level), parts in members.items()}
