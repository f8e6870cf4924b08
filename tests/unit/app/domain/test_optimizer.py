from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import OptimizeResult

from app.domain import optimizer
from app.domain.errors import InvalidInput, OptimizerFailed
from app.domain.footprint import Hardware
from app.domain.optimizer import FloorRule, LevelOption, Solution, WorkloadOptions, dirtiness, optimize

HARDWARE = Hardware()
INTENSITY = 300.0
LEVELS = 4


def option(energy_j: float, win_rate: float, device_s: float = 0.0) -> LevelOption:
    return LevelOption(energy_j=energy_j, device_s=device_s, win_rate=win_rate)


def workload(name: str, *options: LevelOption, share: float = 1.0) -> WorkloadOptions:
    return WorkloadOptions(workload=name, share=share, levels=dict(enumerate(options)))


def solve(*workloads: WorkloadOptions, phi: float = 1.0, intensity: float = INTENSITY, **rule: float) -> Solution:
    return optimize(
        workloads,
        levels=LEVELS,
        intensity_g_per_kwh=intensity,
        phi=phi,
        hardware=HARDWARE,
        rule=FloorRule(**rule),
    )


def grams(level: LevelOption, intensity: float = INTENSITY) -> float:
    return HARDWARE.price(energy_j=level.energy_j, device_s=level.device_s, intensity_g_per_kwh=intensity).total_g


def expected(item: WorkloadOptions, mix: Sequence[float], intensity: float = INTENSITY) -> float:
    return sum(mix[level] * grams(found, intensity) for level, found in item.levels.items())


def win_rate(item: WorkloadOptions, mix: Sequence[float]) -> float:
    return sum(mix[level] * found.win_rate for level, found in item.levels.items())


def best_by_hand(item: WorkloadOptions, floor: float, kept: float) -> float:
    """The least footprint among all mixes of L0's kept share with one level, or with two that meet the floor."""
    if len(item.levels) == 1:
        return grams(item.levels[0])
    needed = (floor - kept) * item.levels[0].win_rate
    points = [(grams(level), level.win_rate) for level in item.levels.values()]
    found = [cost for cost, quality in points if (1 - kept) * quality >= needed]
    for (cost, quality), (other_cost, other_quality) in combinations(points, 2):
        if quality == other_quality or kept == 1:
            continue
        part = (needed / (1 - kept) - other_quality) / (quality - other_quality)
        if 0 <= part <= 1:
            found.append(part * cost + (1 - part) * other_cost)
    return kept * grams(item.levels[0]) + (1 - kept) * min(found)


L0 = option(1000, 0.5, 2.0)
BRIEF = option(300, 0.45, 0.6)
VERY_BRIEF = option(150, 0.30, 0.3)


def test_in_the_cleanest_hour_quality_is_not_given_up() -> None:
    solution = solve(workload("w", L0, BRIEF, VERY_BRIEF), phi=0.0)
    assert solution.mixes == {"w": (1.0, 0.0, 0.0, 0.0)}
    assert solution.floor == 1.0
    assert solution.binding == {"w"}


def test_in_the_dirtiest_hour_it_is_given_up_as_far_as_allowed() -> None:
    solution = solve(workload("w", L0, BRIEF), phi=1.0, xi=0.04, kept_at_l0=0.0)
    # 0.5 x0 + 0.45 (1 - x0) = 0.96 * 0.5
    assert solution.mixes["w"] == pytest.approx((0.6, 0.4, 0.0, 0.0))
    assert solution.floor == 0.96
    assert solution.binding == {"w"}


def test_phi_scales_what_may_be_given_up() -> None:
    solution = solve(workload("w", L0, BRIEF), phi=0.5, xi=0.04, kept_at_l0=0.0)
    assert solution.mixes["w"] == pytest.approx((0.8, 0.2, 0.0, 0.0))


def test_a_level_that_is_better_and_cheaper_is_used_at_any_hour() -> None:
    solution = solve(workload("w", L0, option(300, 0.6), VERY_BRIEF), phi=0.0, kept_at_l0=0.01)
    mix = solution.mixes["w"]
    # What it is better by is spent on the cheapest level.
    assert mix[0] == pytest.approx(0.01)
    assert mix[2] > 0.3
    assert win_rate(workload("w", L0, option(300, 0.6), VERY_BRIEF), mix) == pytest.approx(0.5)


def test_without_a_floor_that_matters_all_but_the_kept_share_is_cheapest() -> None:
    solution = solve(workload("w", L0, BRIEF, VERY_BRIEF), xi=1.0, kept_at_l0=0.05)
    assert solution.mixes["w"] == pytest.approx((0.05, 0.0, 0.95, 0.0))
    assert solution.binding == frozenset()


def test_levels_that_cost_more_leave_l0_and_no_floor_is_to_blame() -> None:
    solution = solve(workload("w", L0, option(2000, 0.7), option(3000, 0.2)), phi=0.0)
    assert solution.mixes["w"] == (1.0, 0.0, 0.0, 0.0)
    assert solution.binding == frozenset()


def test_a_workload_with_l0_alone_stays_there() -> None:
    solution = solve(workload("w", L0), kept_at_l0=0.01)
    assert solution.mixes["w"] == (1.0, 0.0, 0.0, 0.0)
    assert solution.binding == frozenset()


def test_levels_may_be_missing_in_between() -> None:
    item = WorkloadOptions(workload="w", share=1.0, levels={0: L0, 3: option(100, 0.5)})
    assert solve(item).mixes["w"] == pytest.approx((0.01, 0.0, 0.0, 0.99))


def test_no_workload_pays_for_another() -> None:
    generous = workload("generous", L0, option(300, 0.9), share=0.9)
    strict = workload("strict", L0, option(300, 0.1), share=0.1)
    together = solve(generous, strict)
    assert together.mixes["strict"] == pytest.approx(solve(strict).mixes["strict"])
    assert win_rate(strict, together.mixes["strict"]) == pytest.approx(0.9 * 0.5)
    assert together.binding == {"strict"}


@pytest.mark.parametrize("share", [0.0, 1e-9, 1e-4, 0.01])
@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e-6])
def test_a_rare_or_cheap_workload_is_optimized_as_well_as_a_large_one(share: float, scale: float) -> None:
    large = workload("large", option(5000, 0.5, 5), option(1000, 0.48, 1), share=1 - share)
    small = workload(
        "small",
        option(1000 * scale, 0.5, scale),
        option(300 * scale, 0.45, 0.3 * scale),
        option(200 * scale, 0.40, 0.2 * scale),
        share=share,
    )
    assert solve(large, small).mixes["small"] == pytest.approx((0.01, 0.98, 0.01, 0.0))


def test_levels_that_cost_the_same_meet_the_floor() -> None:
    item = workload("w", option(100, 0.5), option(100, 0.4), option(100, 0.2))
    mix = solve(item, phi=0.3).mixes["w"]
    assert sum(mix) == pytest.approx(1)
    assert win_rate(item, mix) >= (1 - 0.1 * 0.3) * 0.5 - 1e-6


def test_nothing_that_costs_anything() -> None:
    item = workload("w", option(0, 0.5), option(0, 0.5))
    assert sum(solve(item, intensity=0.0).mixes["w"]) == pytest.approx(1)


def test_clean_electricity_still_saves_embodied_carbon() -> None:
    slow_but_frugal = workload("w", option(100, 0.5, 1.0), option(50, 0.5, 2.0), option(200, 0.5, 0.5))
    assert solve(slow_but_frugal, intensity=0.0).mixes["w"] == pytest.approx((0.01, 0.0, 0.99, 0.0))
    assert solve(slow_but_frugal, intensity=5000.0).mixes["w"] == pytest.approx((0.01, 0.99, 0.0, 0.0))


def test_without_workloads_there_is_nothing_to_do() -> None:
    solution = solve(phi=0.5)
    assert (solution.mixes, solution.binding, solution.floor) == ({}, frozenset(), 0.95)


def test_the_order_of_workloads_does_not_matter() -> None:
    items = [workload(str(i), L0, replace(BRIEF, win_rate=0.3 + i / 50), VERY_BRIEF, share=0.1) for i in range(10)]
    forwards, backwards = solve(*items).mixes, solve(*reversed(items)).mixes
    assert all(forwards[name] == pytest.approx(backwards[name]) for name in forwards)


def test_many_workloads() -> None:
    items = [workload(str(i), L0, BRIEF, VERY_BRIEF, share=1 / 300) for i in range(300)]
    assert len(solve(*items).mixes) == 300


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("bad", [NAN, INF, -INF, -1.0])
@pytest.mark.parametrize("field", ["energy_j", "device_s", "win_rate", "share", "intensity", "phi"])
def test_figures_that_are_no_figures(field: str, bad: float) -> None:
    item = workload("w", L0, BRIEF)
    outside: dict[str, Any] = {}
    if field == "share":
        item = replace(item, share=bad)
    elif field in ("intensity", "phi"):
        outside = {field: bad}
    else:
        item = replace(item, levels={**item.levels, 1: replace(BRIEF, **{field: bad})})
    with pytest.raises(InvalidInput, match="finite, non-negative figures: check"):
        solve(workload("sound", L0), item, **outside)


def test_a_workload_without_l0_cannot_be_compared() -> None:
    with pytest.raises(InvalidInput, match="Workload w has no figures for L0"):
        solve(WorkloadOptions(workload="w", share=1.0, levels={1: BRIEF}))
    with pytest.raises(InvalidInput, match="Workload w has no figures for L0"):
        solve(WorkloadOptions(workload="w", share=1.0, levels={}))


def test_a_solver_that_gives_up_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def give_up(*_: object, **__: object) -> OptimizeResult:
        return OptimizeResult(status=4, x=None, message="numerical difficulties")

    monkeypatch.setattr(optimizer, "linprog", give_up)
    with pytest.raises(OptimizerFailed, match="found no optimum for w: numerical difficulties"):
        solve(workload("w", L0, BRIEF))


@pytest.mark.parametrize(
    ("intensity", "past", "phi"),
    [
        (100, [100, 300], 0.0),
        (300, [100, 300], 1.0),
        (150, [100, 300, 200], 0.25),
        (50, [100, 300], 0.0),
        (900, [100, 300], 1.0),
        (250, [250, 250, 250], 0.0),
        (900, [250], 0.0),
        (250, [], 0.0),
        (0, [0, 0], 0.0),
    ],
)
def test_dirtiness(intensity: float, past: list[float], phi: float) -> None:
    assert dirtiness(intensity, past) == phi


@given(st.lists(st.floats(0, 9999), max_size=20), st.floats(0, 9999))
def test_dirtiness_is_a_share(past: list[float], intensity: float) -> None:
    assert 0.0 <= dirtiness(intensity, past) <= 1.0


figures = st.floats(0, 1e5) | st.sampled_from([0.0, 1.0, 100.0])
options = st.builds(LevelOption, energy_j=figures, device_s=st.floats(0, 1e3), win_rate=st.floats(0, 1))
levels = st.builds(
    lambda l0, others: {0: replace(l0, win_rate=0.5), **others},
    options,
    st.dictionaries(st.integers(1, LEVELS - 1), options),
)
problems = st.lists(st.tuples(levels, st.floats(0, 1)), min_size=1, max_size=4)


def named(problem: list[tuple[Mapping[int, LevelOption], float]]) -> list[WorkloadOptions]:
    return [
        WorkloadOptions(workload=f"w{number}", share=share, levels=found)
        for number, (found, share) in enumerate(problem)
    ]


def scale_of(item: WorkloadOptions) -> float:
    return max(map(grams, item.levels.values()))


@given(problems, st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
@example([({0: option(1, 0.5), 1: option(1, 0.0)}, 1.0)], 1.0, 1.0, 1.0)
def test_every_solution_keeps_the_rules_and_is_the_best(
    problem: list[tuple[Mapping[int, LevelOption], float]], phi: float, xi: float, kept: float
) -> None:
    items = named(problem)
    solution = solve(*items, phi=phi, xi=xi, kept_at_l0=kept)
    for item in items:
        mix = solution.mixes[item.workload]
        assert len(mix) == LEVELS
        assert sum(mix) == pytest.approx(1, abs=1e-9)
        assert all(0 <= share <= 1 + 1e-12 for share in mix)
        assert all(mix[level] == 0 for level in range(LEVELS) if level not in item.levels)
        assert mix[0] >= kept - 1e-6
        assert win_rate(item, mix) >= solution.floor * 0.5 - 1e-6
        assert expected(item, mix) <= best_by_hand(item, solution.floor, kept) + 1e-5 * scale_of(item)
        if item.workload in solution.binding:
            unbound = solve(item, phi=1.0, xi=1.0, kept_at_l0=kept).mixes[item.workload]
            assert expected(item, unbound) < expected(item, mix)


@settings(max_examples=40)
@given(problems, st.floats(0, 0.5))
def test_a_lower_floor_never_costs_more(problem: list[tuple[Mapping[int, LevelOption], float]], kept: float) -> None:
    items = named(problem)
    solutions = [solve(*items, phi=phi, xi=0.5, kept_at_l0=kept) for phi in np.linspace(0, 1, 5)]
    for item in items:
        costs = [expected(item, solution.mixes[item.workload]) for solution in solutions]
        assert all(lower <= higher + 1e-5 * scale_of(item) for higher, lower in pairwise(costs))
