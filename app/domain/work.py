"""What there is to plan: the shards of batches that have yet to run, and what their requests take in every hour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from app.domain.arrays import Floats, Ints
from app.domain.batch import Schedule

SAFE_SHARE = 0.5
"""Share of the measured capacity with which every deadline must be within reach."""

SHORTEST_MARGIN_H = 5 / 60
MARGIN_SHARE = 0.02
"""A deadline is planned for this share of its completion window earlier: shards that run are not interrupted."""

S_PER_H = 3600.0

ROUNDING = 1e-6
"""Requests: an hour that a shard fills exactly must take it. Hours: what ends exactly when it is due is not late."""


def lengths_h(starts_h: Floats) -> Floats:
    """How long each hour of a horizon lasts (H): the first is what is left of the present one."""
    return np.append(np.diff(starts_h), 1.0)


def margin_h(window_h: float) -> float:
    """How long before its deadline a batch is planned to end."""
    return max(SHORTEST_MARGIN_H, MARGIN_SHARE * window_h)


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What one request of a batch takes in a zone, by the hour of the horizon in which it runs (H)."""

    device_s: Floats
    """Expected under the directive mix of the hour: a dirty hour shortens answers."""
    cost_g: Floats
    """What the choice of the hour decides: the use above an idle machine's, and moving the request to the zone."""
    cleanest_s: float = 0.0
    """Device-seconds in the cleanest hour that may come, where that is cleaner than any that is forecast."""

    @property
    def longest_s(self) -> float:
        """Device-seconds where answers are longest: what deadlines are planned with."""
        return max(float(self.device_s.max()), self.cleanest_s)


@dataclass(frozen=True, kw_only=True)
class Work:
    """The shards of a batch that have yet to run, N of them."""

    requests: Ints
    """By shard (N), in the order of lines."""
    due_h: float
    """Hours from now to the deadline, its margin taken off; negative once that has passed."""
    schedule: Schedule
    demand: Mapping[str, Demand]
    """By zone in which the batch may run; never empty."""
    promised: bool = True
    """Whether the deadline is kept. A batch that was told that it might be late has the room that promises leave."""

    @property
    def bound_h(self) -> float:
        """The deadline, as far as it binds."""
        return self.due_h if self.promised else np.inf
