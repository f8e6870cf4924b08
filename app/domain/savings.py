"""What the same requests would have cost at L0, estimated from the randomised share that was kept there."""

from __future__ import annotations

import math
from dataclasses import dataclass

Z_90 = 1.6449
"""Normal quantile of a two-sided 90 % interval."""


@dataclass(frozen=True, kw_only=True)
class WeightedSums:
    """Sums over the requests that *drew* L0, each with figure y and drawn probability p."""

    requests: int
    weight: float
    """Sum of 1/p."""
    weighted: float
    """Sum of y/p."""
    weight_squared: float
    """Sum of 1/p^2."""
    cross: float
    """Sum of y/p^2."""
    weighted_squared: float
    """Sum of y^2/p^2."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean with its 90 % interval and the requests that it rests on."""

    mean: float
    low: float
    high: float
    requests: int


def mean_at_l0(sums: WeightedSums) -> Estimate | None:
    """Hajek's inverse-propensity estimate of the mean of y at L0; None from fewer than two requests.

    Source: Hajek (1971); variance by linearisation, sum((y - m)^2 / p^2) / sum(1/p)^2.
    """
    if sums.requests < 2:
        return None
    mean = sums.weighted / sums.weight
    spread = sums.weighted_squared - 2 * mean * sums.cross + mean**2 * sums.weight_squared
    margin = Z_90 * math.sqrt(max(spread, 0.0)) / sums.weight
    return Estimate(mean=mean, low=max(mean - margin, 0.0), high=mean + margin, requests=sums.requests)
