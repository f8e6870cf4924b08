"""What came of a policy: the footprints and the answers of the requests that are scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.domain.arrays import Floats
from app.domain.directive import L0
from app.domain.footprint import Hardware
from app.domain.units import JOULES_PER_KWH
from app.simulation.dataset import Recording
from app.simulation.partition import Partition


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What rounds of evaluation emitted, and found."""

    grams: float = 0.0
    verdicts: int = 0
    hours: tuple[int, ...] = ()
    """Those in which a round ran, counted from the first that was replayed."""

    @property
    def rounds(self) -> int:
        return len(self.hours)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a policy did and what came of it; footprints in grams per request or in all, by hour."""

    mixes: Floats
    """Hours x C x L."""
    served_g: Floats
    """Hours: of all requests."""
    base_g: Floats
    """Hours: what L0 would have cost."""
    evaluation: Evaluation
    served_by_workload: Floats
    """W x 2: grams spent, and grams at L0."""
    preferred: Floats
    """W x 2: requests whose level was the judge's pick, and whose L0 was."""
    correct: Floats
    """W x 2: requests answered correctly, and at L0; NaN where that cannot be checked."""
    requests: Floats
    """W."""

    @property
    def evaluation_g(self) -> float:
        return self.evaluation.grams

    @property
    def rounds(self) -> int:
        return self.evaluation.rounds

    @property
    def verdicts(self) -> int:
        return self.evaluation.verdicts


@dataclass(frozen=True, kw_only=True)
class Bill:
    """Means of the score requests per workload and class (a cell), weighted by the cell's share of the workload."""

    hardware: Hardware
    energy_j: Floats
    """W x C x L, as are the others."""
    device_s: Floats
    picked: Floats
    correct: Floats

    @classmethod
    def of(cls, score: Recording, partition: Partition, hardware: Hardware) -> Bill:
        shape = (len(score.workloads), len(partition.classes.names), score.levels)
        cell = score.workload * shape[1] + partition.score
        per_workload = np.bincount(score.workload, minlength=shape[0])

        def mean(values: Floats) -> Floats:
            sums = [np.bincount(cell, weights=column, minlength=shape[0] * shape[1]) for column in values.T]
            table = np.stack(sums, axis=1).reshape(shape)
            return np.asarray(table / np.maximum(per_workload, 1)[:, None, None])

        return cls(
            hardware=hardware,
            energy_j=mean(score.energy_j),
            device_s=mean(score.device_s),
            picked=mean(score.picked),
            correct=mean(score.checked),
        )

    def grams(self, traffic: Floats, mix: Floats, intensity: float) -> Floats:
        """W: grams per request of the service, by workload, in one hour."""
        return np.asarray(self._hourly(traffic[None], mix[None], np.array([intensity]))[0])

    def settle(
        self, *, arrived: Floats, served: Floats, mixes: Floats, intensity: Floats, evaluation: Evaluation
    ) -> Outcome:
        """`arrived` and `served` are requests by hour and workload: the one at L0 is what the other is held against."""
        both = ((served, mixes), (arrived, at_l0(mixes)))
        spent, base = (self._hourly(requests, mix, intensity) for requests, mix in both)

        def count(values: Floats) -> Floats:
            return np.stack([np.einsum("hw,hcl,wcl->w", requests, mix, values) for requests, mix in both], axis=1)

        return Outcome(
            mixes=mixes,
            served_g=spent.sum(axis=1),
            base_g=base.sum(axis=1),
            evaluation=evaluation,
            served_by_workload=np.stack([spent.sum(axis=0), base.sum(axis=0)], axis=1),
            preferred=count(self.picked),
            correct=count(self.correct),
            requests=arrived.sum(axis=0),
        )

    def uses(self, mixes: Floats) -> tuple[Floats, Floats]:
        """Joules and device-seconds of a request, by hour and workload."""
        energy_j, device_s = (np.einsum("hcl,wcl->hw", mixes, each) for each in (self.energy_j, self.device_s))
        return energy_j, device_s

    def _hourly(self, traffic: Floats, mixes: Floats, intensity: Floats) -> Floats:
        """Hours x W: grams of the traffic."""
        energy_j, device_s = self.uses(mixes)
        operational = energy_j / JOULES_PER_KWH * self.hardware.pue * intensity[:, None]
        return np.asarray(traffic * (operational + device_s * self.hardware.embodied_g_per_device_s))


CLEANEST = 1 / 3


def clean_share(hours: Sequence[int], intensity: Floats) -> float | None:
    """Share of `hours` that are among the cleanest third of all that `intensity` has; None without any.

    Known only afterwards: no rule of evaluation may use it.
    """
    if not len(hours):
        return None
    return float(np.mean(intensity[list(hours)] <= np.quantile(intensity, CLEANEST)))


def at_l0(mixes: Floats) -> Floats:
    """The same hours and classes without a directive."""
    found = np.zeros_like(mixes)
    found[:, :, L0] = 1.0
    return found
