"""The directive optimizer: the least carbon under a floor on answer quality.

Over workloads w with traffic share s_w and levels l:

    minimise    sum_w s_w sum_l x_wl (g_wl - rho g_w0 d_wl / q_w0),  g_wl = k0 e_wl + k1 p_wl
    subject to  sum_l x_wl = 1,  0 <= x_wl <= 1
                sum_w s_w sum_l x_wl d_wl >= - xi phi sum_w s_w q_w0      for each floor group
                the same for correctness c in place of q, where reference answers exist
                x_w0 >= the share of requests kept at L0 to measure what is saved

with k0 = intensity x PUE, e = energy, k1 = embodied carbon / lifetime, p = attributed device-seconds, q = quality,
d_wl = q_wl - q_w0 what may be claimed of its difference to L0's (a mean or a lower bound, 0 at L0), and
phi = clip((k0 - k0min) / (k0max - k0min), 0, 1) over the past only. As sum_l x_wl = 1, a group's floor is the paper's
sum_l q_l x_l >= (1 - xi phi) q_0 (equations 2-6 of Li et al., EMNLP 2024).

rho, the worth of quality, is the share of L0's footprint that L0's whole quality is worth. With rho = 0 the objective
is the paper's, which uses a floor up to the last fraction of a gram: it gives a tenth of the preference for a hundredth
of the carbon where two short levels cost almost the same. A small rho ends that.

The floor groups are the mode: every workload its own (`per-workload`: none pays for another), all in one (`aggregate`:
cheaper, but it buys carbon with some workloads' quality), or all requests taken as a single workload with one common
mix (`service`: exactly the paper). Strata of a workload share its floor. All groups are solved as one sparse linear
programme with HiGHS, each group's costs scaled to 1, so that no rare or cheap workload falls below the solver's
tolerance beside a large one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from app.domain.arrays import Floats, Ints
from app.domain.directive import L0
from app.domain.errors import InvalidInput, OptimizerFailed
from app.domain.footprint import Hardware
from app.domain.options import LevelOption, WorkloadOptions

TOLERANCE = 1e-6

QUALITY_WORTH = 0.25
"""Default of rho. On the paper's measurements saving and quality hardly change between 0.2 and 1.5."""


class FloorMode(StrEnum):
    """Whose quality is kept; see the module."""

    PER_WORKLOAD = "per-workload"
    AGGREGATE = "aggregate"
    SERVICE = "service"


@dataclass(frozen=True, kw_only=True)
class FloorRule:
    mode: FloorMode = FloorMode.PER_WORKLOAD
    xi: float = 0.1
    """Largest fraction of L0's quality that may be given up, in the dirtiest hour; 0 to 1."""
    quality_worth: float = 0.0
    """rho: the share of L0's footprint that L0's whole quality is worth; 0 or more."""
    kept_at_l0: float = 0.01
    """Least probability of L0: the randomised share by which savings are measured; 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class Solution:
    mixes: Mapping[str, tuple[float, ...]]
    """Probability of each level, per workload."""
    floor: float
    """(1 - xi phi), the fraction of L0's quality that is kept."""
    binding: frozenset[str]
    """Workloads whose quality floor holds back further saving."""
    solver_status: str


def dirtiness(intensity: float, past: Sequence[float]) -> float:
    """phi: where `intensity` stands between the least and the greatest of the past; 0 when the past is flat.

    Raises:
        InvalidInput: a figure is not finite.
    """
    if not np.isfinite([intensity, *past]).all():
        raise InvalidInput("How dirty an hour is needs finite carbon intensities.")
    if not len(past):
        return 0.0
    low, high = min(past), max(past)
    return float(np.clip((intensity - low) / (high - low), 0.0, 1.0)) if high > low else 0.0


def optimize(
    workloads: Sequence[WorkloadOptions],
    *,
    levels: int,
    intensity_g_per_kwh: float,
    phi: float,
    hardware: Hardware,
    rule: FloorRule,
) -> Solution:
    """Directive mixes of least expected footprint.

    Raises:
        InvalidInput: a figure is out of range or not finite, or L0 is missing or compared with anything but itself.
        OptimizerFailed: the solver did not report an optimum.
    """
    _check(workloads, intensity_g_per_kwh, phi, rule)
    floor = 1.0 - rule.xi * phi
    if not workloads:
        return Solution(mixes={}, floor=floor, binding=frozenset(), solver_status="no workload yet")
    items = [_as_one(workloads)] if rule.mode is FloorMode.SERVICE else list(workloads)
    programme = _Programme.of(items, intensity_g_per_kwh, phi, hardware, rule)
    shares, status = programme.solve()
    held = programme.held_back(shares)
    mixes = {item.workload: _mix(item, shares[programme.owner == index], levels) for index, item in enumerate(items)}
    binding = frozenset(item.workload for item, is_held in zip(items, held, strict=True) if is_held)
    if rule.mode is FloorMode.SERVICE:
        names = [item.workload for item in workloads]
        mixes, binding = dict.fromkeys(names, mixes[SERVICE]), frozenset(names if binding else ())
    return Solution(mixes=mixes, floor=floor, binding=binding, solver_status=status)


SERVICE = "the whole service"


def _as_one(workloads: Sequence[WorkloadOptions]) -> WorkloadOptions:
    """All requests as one workload, its figures weighted by traffic; only levels that all of them may use."""
    weights = _weights(workloads)
    common = set.intersection(*(set(item.levels) for item in workloads))

    def mean(figures: Iterable[float]) -> float:
        return float(np.dot(weights, list(figures)))

    levels = {
        level: LevelOption(
            energy_j=mean(item.levels[level].energy_j for item in workloads),
            device_s=mean(item.levels[level].device_s for item in workloads),
            gain=mean(item.levels[level].gain for item in workloads),
            correctness_gain=mean(item.levels[level].correctness_gain for item in workloads),
        )
        for level in common
    }
    base = mean(item.base_quality for item in workloads)
    correctness = mean(item.base_correctness for item in workloads)
    return WorkloadOptions(
        workload=SERVICE,
        floor=SERVICE,
        share=1.0,
        base_quality=base,
        base_correctness=correctness,
        levels=levels,
    )


def _weights(workloads: Sequence[WorkloadOptions]) -> Floats:
    shares = np.array([item.share for item in workloads])
    return shares / shares.sum() if shares.sum() > 0 else np.full(len(shares), 1 / len(shares))


@dataclass(frozen=True, kw_only=True)
class _Programme:
    """The linear programme in the solver's form: a variable for every usable level of every workload."""

    owner: Ints
    """The workload of each variable."""
    group: Ints
    """The floor group of each variable."""
    is_l0: NDArray[np.bool_]
    costs: Floats
    """The greatest of each group is 1."""
    gains: Floats
    allowed: Floats
    """Quality that each floor group may give up."""
    correctness_gains: Floats
    allowed_errors: Floats
    """Correctness that each floor group may give up."""
    kept_at_l0: float

    @classmethod
    def of(
        cls, items: Sequence[WorkloadOptions], intensity: float, phi: float, hardware: Hardware, rule: FloorRule
    ) -> _Programme:
        numbers = {floor: number for number, floor in enumerate(dict.fromkeys(item.floor for item in items))}
        groups = [numbers[item.floor] if rule.mode is FloorMode.PER_WORKLOAD else 0 for item in items]
        weights = _within(groups, items)
        options = [
            (index, level, item.levels[level]) for index, item in enumerate(items) for level in sorted(item.levels)
        ]
        owner = np.array([index for index, _, _ in options])
        is_l0 = np.array([level == L0 for _, level, _ in options])
        base = np.array([item.base_quality for item in items])
        correctness = np.array([item.base_correctness for item in items])
        grams = np.array([_grams(option, intensity, hardware) for _, _, option in options])
        gains = np.array([option.gain for _, _, option in options])
        worth = rule.quality_worth * grams[is_l0] / np.where(base > 0, base, 1.0)
        costs = weights[owner] * (grams - worth[owner] * gains)
        group = np.array(groups)[owner]
        largest = np.zeros(group.max() + 1)
        np.maximum.at(largest, group, np.abs(costs))
        return cls(
            owner=owner,
            group=group,
            is_l0=is_l0,
            costs=costs / np.maximum(largest, np.finfo(float).tiny)[group],
            gains=weights[owner] * gains,
            allowed=np.asarray(rule.xi * phi * np.bincount(groups, weights=weights * base), dtype=np.float64),
            correctness_gains=weights[owner] * np.array([option.correctness_gain for _, _, option in options]),
            allowed_errors=np.asarray(
                rule.xi * phi * np.bincount(groups, weights=weights * correctness), dtype=np.float64
            ),
            kept_at_l0=rule.kept_at_l0,
        )

    def solve(self) -> tuple[Floats, str]:
        variables = np.arange(len(self.costs))
        one_each = csr_array((np.ones(len(variables)), (self.owner, variables)))
        floors = csr_array((self.gains, (self.group, variables)))
        right = csr_array((self.correctness_gains, (self.group, variables)))
        result = milp(  # without a whole number in it, it is HiGHS' linear programming
            self.costs,
            constraints=[
                LinearConstraint(one_each, 1.0, 1.0),
                LinearConstraint(floors, -self.allowed, np.inf),
                LinearConstraint(right, -self.allowed_errors, np.inf),
            ],
            bounds=Bounds(np.where(self.is_l0, self.kept_at_l0, 0.0), 1.0),
        )
        if result.status != 0 or result.x is None:
            raise OptimizerFailed(f"The directive optimizer found no optimum: {result.message}")
        return np.maximum(result.x, 0.0), str(result.message)

    def held_back(self, shares: Floats) -> NDArray[np.bool_]:
        """Of each workload, whether its mix costs more than it would without a floor."""
        cheapest = np.full(self.owner[-1] + 1, np.inf)
        np.minimum.at(cheapest, self.owner, self.costs)
        free = self.kept_at_l0 * self.costs[self.is_l0] + (1 - self.kept_at_l0) * cheapest
        return np.asarray(np.bincount(self.owner, weights=shares * self.costs) - free > TOLERANCE)


def _within(groups: Sequence[int], items: Sequence[WorkloadOptions]) -> Floats:
    """Shares within the floor group, so that the figures of a rare group are as large as any other's."""
    members: dict[int, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    weights = np.empty(len(items))
    for rows in members.values():
        weights[rows] = _weights([items[row] for row in rows])
    return weights


def _mix(item: WorkloadOptions, shares: Floats, levels: int) -> tuple[float, ...]:
    """Over all levels, without what the solver's tolerance added."""
    mix = [0.0] * levels
    for level, share in zip(sorted(item.levels), shares / shares.sum(), strict=True):
        mix[level] = float(share)
    return tuple(mix)


def _grams(option: LevelOption, intensity: float, hardware: Hardware) -> float:
    """k0 e + k1 p."""
    return hardware.price(energy_j=option.energy_j, device_s=option.device_s, intensity_g_per_kwh=intensity).total_g


def _check(workloads: Sequence[WorkloadOptions], intensity: float, phi: float, rule: FloorRule) -> None:
    if not (0 <= rule.xi <= 1 and 0 <= rule.kept_at_l0 <= 1 and 0 <= phi <= 1 and 0 <= rule.quality_worth < np.inf):
        raise InvalidInput(
            f"xi ({rule.xi}), the share kept at L0 ({rule.kept_at_l0}) and phi ({phi}) must lie between 0 and 1, and "
            f"the worth of quality ({rule.quality_worth}) must not be negative: no mix could keep such a floor."
        )
    if len({item.workload for item in workloads}) < len(workloads):
        raise InvalidInput("A workload was given to the optimizer twice.")
    figures, gains = [intensity], []
    for item in workloads:
        if L0 not in item.levels or item.levels[L0].gain != 0:
            raise InvalidInput(f"Workload {item.workload} has no L0 to compare with, or one that differs from itself.")
        figures += [item.share, item.base_quality, item.base_correctness]
        for option in item.levels.values():
            figures += [option.energy_j, option.device_s]
            gains += [option.gain, option.correctness_gain]
    if not np.isfinite([*figures, *gains]).all() or min(figures) < 0:
        raise InvalidInput(
            "The optimizer needs finite, non-negative figures: check the profiles, verdicts and intensity."
        )
