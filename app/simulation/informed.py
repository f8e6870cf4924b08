"""A policy that knows the quality from the first hour on: what evaluation is held against.

Its knowledge never changes, and a floor of its own makes each workload's mix independent of the traffic's composition.
xi and phi then matter by their product alone, and one table of decisions over the product and the intensity serves
every hour and every xi. Mixes are interpolated between its nodes. Along the product each floor is kept exactly, as it
is linear in both; the saving differs from an hourly solution's by less than a tenth of a point.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.interpolate import RegularGridInterpolator

from app.domain.arrays import Floats, Ints
from app.domain.attribution import Use
from app.domain.directive import L0
from app.domain.errors import InvalidInput
from app.domain.footprint import Hardware
from app.domain.optimizer import FloorMode, FloorRule, dirtiness
from app.domain.policy import POINT, DirectivePolicy, Known, Observation
from app.domain.preference import Evidence, Gain, Quality
from app.simulation.dataset import Recording
from app.simulation.partition import Partition
from app.simulation.replay import Conditions, Month, empty_book

MOST_XI = 0.5
"""The largest tolerance that the table covers."""

INTENSITIES = 5
PRODUCTS = 101


@dataclass(frozen=True, kw_only=True)
class Informed:
    """Decisions for every intensity and tolerance."""

    table: RegularGridInterpolator
    """From intensity and xi x phi to C x L."""

    @classmethod
    def of(
        cls,
        policy: DirectivePolicy,
        known: Sequence[Known],
        *,
        levels: int,
        intensity: Floats,
        hardware: Hardware,
    ) -> Informed:
        """Let `policy` decide by what is `known`; `intensity` holds the hours that will be asked for.

        Raises:
            InvalidInput: workloads of the policy share a floor, so that their mixes depend on the traffic.
            OptimizerFailed: the solver did not report an optimum.
        """
        if policy.rule.mode is not FloorMode.PER_WORKLOAD:
            raise InvalidInput(f"What is known beforehand needs a floor per workload, not {policy.rule.mode}.")
        tolerant = replace(policy, rule=replace(policy.rule, xi=MOST_XI))
        nodes = np.unique(np.linspace(intensity.min(), intensity.max() + 1.0, INTENSITIES))
        phis = np.linspace(0.0, 1.0, PRODUCTS)
        table = np.zeros((len(nodes), len(phis), len(known), levels))
        for row, grams in enumerate(nodes.tolist()):
            for column, phi in enumerate(phis.tolist()):
                seen = Observation(
                    intensity_g_per_kwh=grams,
                    past=[grams - phi, grams - phi + 1.0],  # in which the hour stands at phi
                    workloads=known,
                    levels=levels,
                    hardware=hardware,
                )
                decided = tolerant.decide(seen).mixes
                table[row, column] = [decided[each.workload] for each in known]
        return cls(table=RegularGridInterpolator((nodes, phis * MOST_XI), table))

    def mixes(self, intensity: Floats, tolerance: Floats) -> Floats:
        """Hours x C x L, from the hours' intensity and xi x phi, 0 to MOST_XI."""
        return np.asarray(self.table(np.stack([intensity, tolerance], axis=1)))


def dirtiness_by_hour(month: Month) -> Floats:
    """phi of every hour of the month, over the past that was known in it."""
    pasts = (month.past(hour).tolist() for hour in range(len(month.now)))
    return np.array([dirtiness(past[-1], past) for past in pasts])


def with_truth(score: Recording, parts: Partition, rule: FloorRule) -> tuple[DirectivePolicy, Sequence[Known]]:
    """The rates and uses of every class that is scored, without a doubt."""
    names, floors = parts.classes.names, parts.classes.floors
    share = np.bincount(parts.score, minlength=len(names)) / len(score)
    members = [np.flatnonzero(parts.score == index) for index in range(len(names))]
    known = [
        Known(
            workload=name,
            floor=floor,
            share=float(share[index]),
            uses={level: _use(score, members[index], level) for level in range(score.levels)},
            quality=_quality(score, members[index], score.workload == score.workloads.index(floor)),
        )
        for index, (name, floor) in enumerate(zip(names, floors, strict=True))
    ]
    return DirectivePolicy(name="TRUTH", rule=rule, confidence=POINT), known


def _quality(score: Recording, rows: Ints, whole: Ints) -> Quality:
    """L0's rate is the whole workload's, as for any stratum."""
    picked = score.picked[rows].mean(axis=0) if len(rows) else np.zeros(score.levels)
    gains = {
        level: Gain(mean=float(picked[level] - picked[L0]), sd=0.0, verdicts=np.inf, evidence=Evidence.MEASURED)
        for level in range(1, score.levels)
    }
    return Quality(base=float(score.picked[whole, L0].mean()), gains=gains)


def _use(score: Recording, rows: Ints, level: int) -> Use:
    if not len(rows):
        return Use()
    return Use(energy_j=float(score.energy_j[rows, level].mean()), device_s=float(score.device_s[rows, level].mean()))


def with_all_verdicts(fit: Recording, parts: Partition, conditions: Conditions) -> Sequence[Known]:
    """What rounds could have found at most: a verdict on every request that is learned from, none of them faded."""
    book = empty_book(fit, parts, conditions)
    book.judge(np.arange(len(fit)), 0)
    return book.known(np.bincount(parts.fit, minlength=len(parts.classes.names)) / len(fit), 0)
