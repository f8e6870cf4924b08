"""When a round of evaluation opens, and when its tasks are drained.

Urgency grows with time: the intensity k(t) of a round that would run now is discounted to

    k(t) exp(-beta (t - t0))

with t0 the last round and beta = 0.029 per hour, which halves it in 24 hours (section 3.4 of Li et al., EMNLP 2024).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from app.domain.errors import InvalidInput

PAPER_BETA_PER_H = 0.029
PAPER_GRACE_H = 6
PAPER_LONGEST_IDLE_H = 72
"""Discount, grace period and longest idle time of the authors' published code."""

ENOUGH = 300
"""Verdicts on a level of a workload below which the next round is urgent: its win rate is known to some 3 points."""

LOW_QUANTILE = 0.1
"""Without a forecast, this quantile of the past stands for the least intensity that waiting could bring."""


class Opening(StrEnum):
    """Why a round does or does not open in this hour."""

    NO = "no"
    BARE = "nothing is known yet that a directive could rest on"
    URGENT = "too little has been judged yet"
    CLEAN = "clean enough for how long the last round is ago"
    FORCED = "the longest idle time has passed"

    @property
    def forced(self) -> bool:
        """Whether the round is drained whatever the hour's intensity."""
        return self in (Opening.BARE, Opening.FORCED)


@dataclass(frozen=True, kw_only=True)
class Trigger:
    """Opens a round once waiting longer promises nothing cleaner, after a grace period, at the latest when forced."""

    beta_per_h: float = PAPER_BETA_PER_H
    grace_h: int = PAPER_GRACE_H
    longest_idle_h: int = PAPER_LONGEST_IDLE_H

    def opening(
        self,
        *,
        idle_h: int,
        intensity: float,
        past: Sequence[float],
        forecast: Sequence[float] | None = None,
        urgent: bool = False,
        bare: bool = False,
    ) -> Opening:
        """Whether a round opens now, `idle_h` hours after the last one, or after the start of service.

        `intensity`, `past` and `forecast` are gCO2eq/kWh; the past ends with the present hour, the forecast starts with
        the next one. A round opens when the discounted intensity is at or below the least of the forecast within the
        hours that may still be waited, or below a low quantile of the past when there is no forecast. When it is
        `urgent`, because some workload has few verdicts, it opens at once, and waits for the gate alone. Where a
        workload is `bare`, without enough verdicts for any directive, not even that: until there are, every hour is
        served at L0, which costs more than the cleanest hour could spare.

        Raises:
            InvalidInput: a figure is not finite, or nothing is known of the past or the future.
        """
        if idle_h >= self.longest_idle_h:
            return Opening.FORCED
        if (urgent or bare) and idle_h > 0:
            return Opening.BARE if bare else Opening.URGENT
        if idle_h < self.grace_h:
            return Opening.NO
        ahead = list(forecast or ())[: self.longest_idle_h - idle_h]
        known = ahead or past
        if not len(known) or not np.isfinite([intensity, *known]).all():
            raise InvalidInput("The trigger of evaluation needs finite intensities of the past or a forecast.")
        least = min(ahead) if ahead else float(np.quantile(past, LOW_QUANTILE))
        discounted = intensity * math.exp(-self.beta_per_h * idle_h)
        return Opening.CLEAN if discounted <= least else Opening.NO


ROUNDING = 1e-9
"""The mean of a flat past may come out a last digit below its figures; the gate is open at that mean all the same."""


def gate_is_open(*, intensity: float, past: Sequence[float], forced: bool) -> bool:
    """Whether the tasks of an open round may run: at or below the mean of the past, or when the round was forced."""
    return forced or (len(past) > 0 and intensity <= float(np.mean(past)) * (1 + ROUNDING))


@dataclass
class PublishedTrigger:
    """The trigger of the authors' published code, for reproduction only.

    It compares neighbouring hours of k exp(+beta dt) and opens where they turn from falling to rising, in hours at or
    below `mean`, their mean over the whole month: it sees the future.
    """

    mean: float
    beta_per_h: float = PAPER_BETA_PER_H
    grace_h: int = PAPER_GRACE_H
    longest_idle_h: int = PAPER_LONGEST_IDLE_H

    def rounds(self, intensities: Sequence[float]) -> list[int]:
        """The hours in which rounds open, counted from the start of the series, in which one is taken for granted."""
        opened, last, falling = [], 0, True
        for hour in range(1, len(intensities)):
            earlier, now = (
                intensities[index] * math.exp(self.beta_per_h * (index - last)) for index in (hour - 1, hour)
            )
            turned, falling = falling and now >= earlier, now <= earlier
            idle = hour - last
            clean = idle > self.grace_h and intensities[hour] <= self.mean
            if idle >= self.longest_idle_h or (clean and turned):
                opened.append(hour)
                last = hour
        return opened
