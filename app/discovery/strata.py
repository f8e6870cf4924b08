"""Strata: the prompts of a workload by how much energy an answer is expected to need, in parts of equal size.

Prompts that would be answered at length have the most to save. Each workload has a linear model of the logarithm of a
request's energy at L0 on the coordinates of its prompt's point.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from app.discovery.embedding import Stored
from app.domain.arrays import Floats, Ints
from app.domain.workload import stratum_name

STRATA = 6
PROMPTS_PER_STRATUM = 20
"""Measured prompts that each stratum needs; a workload with fewer than two strata's worth has none."""
PENALTY = 3.0
"""Of ridge regression."""
FOLDS = 5


@dataclass(frozen=True, kw_only=True)
class Strata:
    """F workloads that have strata, points of D coordinates, up to C + 1 strata."""

    workloads: tuple[str, ...]
    coefficients: Stored
    """F x D: of the logarithm of energy at L0."""
    intercepts: Stored
    """F."""
    cuts: Stored
    """F x C, ascending: the scores at which the next stratum begins; infinite where a workload has fewer strata."""

    @classmethod
    def none(cls, size: int) -> Strata:
        """Every workload stays whole; points have `size` coordinates."""
        return _strata({}, size, 1)

    @cached_property
    def _index(self) -> Mapping[str, int]:
        return {workload: index for index, workload in enumerate(self.workloads)}

    def scores(self, workloads: Sequence[str], points: Floats) -> Floats:
        """N: the expected logarithm of energy of each prompt; NaN where its workload has no strata."""
        index = self._places(workloads)
        known = index >= 0
        scores = np.full(len(points), np.nan)
        # Each point on its own: a matrix product may add up in another order in other company.
        products = points[known] * self.coefficients[index[known]]
        scores[known] = products.sum(axis=1) + self.intercepts[index[known]]
        return scores

    def names(self, workloads: Sequence[str], scores: Floats) -> list[str]:
        """Mix names: the workload's stratum, counted from 1 at the least energy, or the workload itself."""
        index = self._places(workloads)
        known = index >= 0
        strata = np.zeros(len(scores), dtype=np.int64)
        strata[known] = 1 + (self.cuts[index[known]] <= scores[known, None]).sum(axis=1)
        pairs = zip(workloads, strata.tolist(), strict=True)
        return [stratum_name(name, stratum) if stratum else name for name, stratum in pairs]

    def _places(self, workloads: Sequence[str]) -> Ints:
        """N: where each workload is among those that have strata; -1 if it is not."""
        return np.array([self._index.get(name, -1) for name in workloads], dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class FittedStrata:
    strata: Strata
    scores: Floats
    """N: of the prompts that were fitted, each by a model that did not see its energy; NaN as in `Strata.scores`."""


def fit_strata(workloads: Sequence[str], points: Floats, log_energy: Floats, *, most: int) -> FittedStrata:
    """Fit the strata of every workload that has enough measured prompts.

    Args:
        workloads: N names.
        points: N x D.
        log_energy: N; NaN where it was not measured.
        most: strata per workload; fewer where there are not enough measured prompts.
    """
    members: dict[str, list[int]] = {}
    for row, workload in enumerate(workloads):
        members.setdefault(workload, []).append(row)
    scores = np.full(len(workloads), np.nan)
    fitted: dict[str, tuple[Floats, float, Floats]] = {}
    for workload, rows in sorted(members.items()):
        number = min(most, int(np.isfinite(log_energy[rows]).sum()) // PROMPTS_PER_STRATUM)
        if number < 2:
            continue
        coefficients, intercept = _ridge(points[rows], log_energy[rows])
        scores[rows] = _honest_scores(points[rows], log_energy[rows])
        cuts = np.full(most - 1, np.inf)
        # Of honest scores, which spread as those of unseen prompts do: the strata of those are equally large.
        cuts[: number - 1] = np.quantile(scores[rows], np.arange(1, number) / number)
        fitted[workload] = coefficients, intercept, cuts
    return FittedStrata(strata=_strata(fitted, points.shape[1], most), scores=scores)


def _strata(fitted: Mapping[str, tuple[Floats, float, Floats]], size: int, most: int) -> Strata:
    parts = list(fitted.values())
    return Strata(
        workloads=tuple(fitted),
        coefficients=_stored([part[0] for part in parts], (len(parts), size)),
        intercepts=_stored([part[1] for part in parts], (len(parts),)),
        cuts=_stored([part[2] for part in parts], (len(parts), max(most - 1, 0))),
    )


def _stored(values: object, shape: tuple[int, ...]) -> Stored:
    return np.array(values, dtype=np.float32).reshape(shape)


def _ridge(points: Floats, target: Floats) -> tuple[Floats, float]:
    """Coefficients and intercept, from the rows whose target is known; the intercept is not penalised."""
    known = np.isfinite(target)
    centre, mean = points[known].mean(axis=0), float(target[known].mean())
    centred = points[known] - centre
    gram = centred.T @ centred + PENALTY * np.eye(points.shape[1])
    coefficients = np.linalg.solve(gram, centred.T @ (target[known] - mean))
    return coefficients, mean - float(centre @ coefficients)


def _honest_scores(points: Floats, target: Floats) -> Floats:
    """Predictions for each row by a model that was fitted without that row's target."""
    fold = np.random.default_rng(0).permutation(len(target)) % FOLDS
    scores = np.empty(len(target))
    for index in range(FOLDS):
        coefficients, intercept = _ridge(points, np.where(fold == index, np.nan, target))
        scores[fold == index] = points[fold == index] @ coefficients + intercept
    return scores
