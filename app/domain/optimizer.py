"""The directive optimizer: the least carbon under a floor on quality in every workload.

Over workloads w with traffic share s_w and levels l:

    minimise    sum_w s_w sum_l x_wl (k0 e_wl + k1 p_wl)
    subject to  sum_l x_wl = 1,  0 <= x_wl <= 1
                sum_l q_wl x_wl >= (1 - xi phi) q_w0      for each w
                x_w0 >= the share of requests kept at L0 to measure what is saved

with k0 = intensity x PUE, e = energy, k1 = embodied carbon / lifetime, p = attributed device-seconds, and
phi = clip((k0 - k0min) / (k0max - k0min), 0, 1) over the past only. Equations 2-6 of Li et al., EMNLP 2024, with the
floor taken per workload so that no workload pays for another. Solved with HiGHS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog

from app.domain.directive import L0
from app.domain.errors import InvalidInput, OptimizerFailed
from app.domain.footprint import Hardware

TOLERANCE = 1e-6


@dataclass(frozen=True, kw_only=True)
class LevelOption:
    """What is expected of one level in one workload, per request."""

    energy_j: float
    device_s: float
    win_rate: float


@dataclass(frozen=True, kw_only=True)
class WorkloadOptions:
    """The levels that may be used in a workload; L0 is always among them."""

    workload: str
    share: float
    """Share of the traffic, 0 to 1. With a floor per workload it does not change any mix."""
    levels: Mapping[int, LevelOption]


@dataclass(frozen=True, kw_only=True)
class FloorRule:
    xi: float = 0.1
    """Largest fraction of L0's quality that may be given up, in the dirtiest hour."""
    kept_at_l0: float = 0.01
    """Least probability of L0: the randomised share by which savings are measured."""


@dataclass(frozen=True, kw_only=True)
class Solution:
    mixes: Mapping[str, tuple[float, ...]]
    """Probability of each level, per workload."""
    floor: float
    """(1 - xi phi), the fraction of L0's quality that every workload keeps."""
    binding: frozenset[str]
    """Workloads whose quality floor holds back further saving."""
    solver_status: str


def dirtiness(intensity: float, past: Sequence[float]) -> float:
    """phi: where `intensity` stands between the least and the greatest of the past; 0 when the past is flat."""
    if not past:
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
        InvalidInput: a figure is not finite or L0 is missing.
        OptimizerFailed: the solver did not report an optimum.
    """
    _check(workloads, intensity_g_per_kwh, phi)
    floor = 1.0 - rule.xi * phi
    solved = {item.workload: _solve(item, levels, intensity_g_per_kwh, floor, hardware, rule) for item in workloads}
    return Solution(
        mixes={workload: mix for workload, (mix, _, _) in solved.items()},
        floor=floor,
        binding=frozenset(workload for workload, (_, binding, _) in solved.items() if binding),
        solver_status="; ".join(sorted({status for _, _, status in solved.values()})) or "no workload yet",
    )


def _solve(
    item: WorkloadOptions, levels: int, intensity: float, floor: float, hardware: Hardware, rule: FloorRule
) -> tuple[tuple[float, ...], bool, str]:
    """Mix of one workload, whether the floor holds it back, and what the solver said.

    With a floor of its own a workload does not depend on the others. Solving each by itself takes time and memory in
    proportion to their number, and no rare or cheap workload falls below the solver's tolerance beside a large one.
    """
    known = sorted(item.levels)
    mix = [0.0] * levels
    if known == [L0]:
        mix[L0] = 1.0
        return tuple(mix), False, "only L0 is known"
    grams = np.array([_grams(item.levels[level], intensity, hardware) for level in known])
    costs = grams / max(float(grams.max()), float(np.finfo(float).tiny))
    result = linprog(
        costs,
        A_ub=[[-item.levels[level].win_rate for level in known]],
        b_ub=[-floor * item.levels[L0].win_rate],
        A_eq=[[1.0] * len(known)],
        b_eq=[1.0],
        bounds=[(rule.kept_at_l0 if level == L0 else 0.0, 1.0) for level in known],
        method="highs",
    )
    if result.status != 0 or result.x is None:
        raise OptimizerFailed(f"The directive optimizer found no optimum for {item.workload}: {result.message}")
    shares = np.maximum(result.x, 0.0) / np.maximum(result.x, 0.0).sum()
    for level, share in zip(known, shares, strict=True):
        mix[level] = float(share)
    return tuple(mix), _held_back(result.x, costs, rule), str(result.message)


def _grams(option: LevelOption, intensity: float, hardware: Hardware) -> float:
    """k0 e + k1 p."""
    return hardware.price(energy_j=option.energy_j, device_s=option.device_s, intensity_g_per_kwh=intensity).total_g


def _held_back(mix: np.ndarray, costs: np.ndarray, rule: FloorRule) -> bool:
    """Whether a mix costs more than it would without a floor; both per level, L0 first."""
    without_floor = rule.kept_at_l0 * costs[L0] + (1 - rule.kept_at_l0) * costs.min()
    return bool(mix @ costs - without_floor > TOLERANCE)


def _check(workloads: Sequence[WorkloadOptions], intensity: float, phi: float) -> None:
    figures = [intensity, phi, *(item.share for item in workloads)]
    for item in workloads:
        if L0 not in item.levels:
            raise InvalidInput(f"Workload {item.workload} has no figures for L0: without them nothing can be compared.")
        for option in item.levels.values():
            figures += [option.energy_j, option.device_s, option.win_rate]
    if not all(np.isfinite(figures)) or min(figures, default=0.0) < 0:
        raise InvalidInput(
            "The optimizer needs finite, non-negative figures: check the profiles, verdicts and intensity."
        )
