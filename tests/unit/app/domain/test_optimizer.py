from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import OptimizeResult

from app.domain import optimizer
from app.domain.errors import InvalidInput, OptimizerFailed
from app.domain.footprint import Hardware
from app.domain.optimizer import FloorMode, FloorRule, Solution, dirtiness, optimize
from app.domain.options import LevelOption, WorkloadOptions

HARDWARE = Hardware(pue=1.2)
INTENSITY = 300.0
LEVELS = 4
PER_WORKLOAD, AGGREGATE, SERVICE = FloorMode.PER_WORKLOAD, FloorMode.AGGREGATE, FloorMode.SERVICE

Floats = NDArray[np.float64]
Mixes = Mapping[str, Sequence[float]]


def option(energy_j: float, gain: float = 0.0, device_s: float = 0.0) -> LevelOption:
    return LevelOption(energy_j=energy_j, device_s=device_s, gain=gain)


def workload(
    name: str, *options: LevelOption, share: float = 1.0, base: float = 0.5, floor: str | None = None
) -> WorkloadOptions:
    return WorkloadOptions(
        workload=name, floor=floor or name, share=share, base_quality=base, levels=dict(enumerate(options))
    )


def solve(*workloads: WorkloadOptions, phi: float = 1.0, intensity: float = INTENSITY, **rule: Any) -> Solution:
    return optimize(
        workloads,
        levels=LEVELS,
        intensity_g_per_kwh=intensity,
        phi=phi,
        hardware=HARDWARE,
        rule=FloorRule(**rule),
    )


# What a mix is worth, worked out again.


def grams(level: LevelOption, intensity: float = INTENSITY) -> float:
    """k0 e + k1 p, written out."""
    k0, k1 = intensity * HARDWARE.pue, HARDWARE.embodied_g / HARDWARE.lifetime_s
    return k0 * level.energy_j / 3.6e6 + k1 * level.device_s


def expected(item: WorkloadOptions, mix: Sequence[float]) -> float:
    return sum(mix[level] * grams(found) for level, found in item.levels.items())


def gain(item: WorkloadOptions, mix: Sequence[float]) -> float:
    return sum(mix[level] * found.gain for level, found in item.levels.items())


def parts(items: Sequence[WorkloadOptions]) -> list[float]:
    """Shares of these workloads among themselves."""
    total = sum(item.share for item in items)
    return [item.share / total if total else 1 / len(items) for item in items]


def weighted(
    items: Sequence[WorkloadOptions], figure: Callable[[WorkloadOptions, Sequence[float]], float], mixes: Mixes
) -> float:
    return sum(part * figure(item, mixes[item.workload]) for part, item in zip(parts(items), items, strict=True))


def base_quality(items: Sequence[WorkloadOptions]) -> float:
    return sum(part * item.base_quality for part, item in zip(parts(items), items, strict=True))


def scale(items: Iterable[WorkloadOptions]) -> float:
    return max(grams(level) for item in items for level in item.levels.values())


def groups(items: Sequence[WorkloadOptions], mode: FloorMode) -> list[list[WorkloadOptions]]:
    """The workloads of each floor."""
    if mode is not PER_WORKLOAD:
        return [list(items)]
    return [[item for item in items if item.floor == floor] for floor in dict.fromkeys(item.floor for item in items)]


def least_by_hand(items: Sequence[WorkloadOptions], given_up: float, kept: float) -> float:
    """The least footprint per request under one floor: that of the cheapest vertex of the polytope.

    A vertex solves the equations (the levels of every workload sum to 1) together with as many inequalities, taken as
    equations, as there are variables left.
    """
    variables = [(owner, level) for owner, item in enumerate(items) for level in sorted(item.levels)]
    weights = parts(items)
    costs = np.array([weights[owner] * grams(items[owner].levels[level]) for owner, level in variables])
    gains = np.array([weights[owner] * items[owner].levels[level].gain for owner, level in variables])
    sums = np.array([[float(owner == index) for owner, _ in variables] for index in range(len(items))])
    rows = np.vstack([np.eye(len(variables)), gains])
    bounds = np.array([*(kept if level == 0 else 0.0 for _, level in variables), -given_up])
    best = np.inf
    for chosen in combinations(range(len(rows)), len(variables) - len(items)):
        system = np.vstack([sums, rows[list(chosen)]])
        try:
            vertex = np.linalg.solve(system, np.concatenate([np.ones(len(items)), bounds[list(chosen)]]))
        except np.linalg.LinAlgError:
            continue
        if (rows @ vertex >= bounds - 1e-9).all() and np.allclose(sums @ vertex, 1, atol=1e-9):
            best = min(best, float(costs @ vertex))
    return best


L0 = option(1000, 0.0, 2.0)
BRIEF = option(300, -0.05, 0.6)
VERY_BRIEF = option(150, -0.20, 0.3)


# Examples.


def test_in_the_cleanest_hour_quality_is_not_given_up() -> None:
    solution = solve(workload("w", L0, BRIEF, VERY_BRIEF), phi=0.0)
    assert solution.mixes == {"w": (1.0, 0.0, 0.0, 0.0)}
    assert solution.floor == 1.0
    assert solution.binding == {"w"}


@pytest.mark.parametrize("mode", FloorMode)
def test_in_the_dirtiest_hour_it_is_given_up_as_far_as_allowed(mode: FloorMode) -> None:
    solution = solve(workload("w", L0, BRIEF), phi=1.0, xi=0.04, kept_at_l0=0.0, mode=mode)
    # -0.05 (1 - x0) = -0.04 * 0.5
    assert solution.mixes["w"] == pytest.approx((0.6, 0.4, 0.0, 0.0))
    assert solution.floor == 0.96
    assert solution.binding == {"w"}


def test_phi_scales_what_may_be_given_up() -> None:
    solution = solve(workload("w", L0, BRIEF), phi=0.5, xi=0.04, kept_at_l0=0.0)
    assert solution.mixes["w"] == pytest.approx((0.8, 0.2, 0.0, 0.0))
    assert solution.floor == 0.98


def test_what_may_be_given_up_is_a_fraction_of_l0s_quality() -> None:
    solution = solve(workload("w", L0, BRIEF, base=0.25), phi=1.0, xi=0.04, kept_at_l0=0.0)
    assert solution.mixes["w"] == pytest.approx((0.8, 0.2, 0.0, 0.0))


def test_what_a_level_is_better_by_is_spent_on_the_cheapest() -> None:
    mix = solve(workload("w", L0, option(300, 0.1), VERY_BRIEF), phi=0.0, kept_at_l0=0.01).mixes["w"]
    # 0.1 x1 = 0.2 x2
    assert mix == pytest.approx((0.01, 0.66, 0.33, 0.0))


def test_without_a_floor_that_matters_all_but_the_kept_share_is_cheapest() -> None:
    solution = solve(workload("w", L0, BRIEF, VERY_BRIEF), xi=1.0, kept_at_l0=0.05)
    assert solution.mixes["w"] == pytest.approx((0.05, 0.0, 0.95, 0.0))
    assert solution.binding == frozenset()


def test_all_may_be_kept_at_l0() -> None:
    assert solve(workload("w", L0, BRIEF), xi=1.0, kept_at_l0=1.0).mixes["w"] == (1.0, 0.0, 0.0, 0.0)


def test_levels_that_cost_more_leave_l0_and_no_floor_is_to_blame() -> None:
    solution = solve(workload("w", L0, option(2000, 0.2), option(3000, -0.3)), phi=0.0)
    assert solution.mixes["w"] == (1.0, 0.0, 0.0, 0.0)
    assert solution.binding == frozenset()


@pytest.mark.parametrize("mode", FloorMode)
def test_a_workload_with_l0_alone_stays_there(mode: FloorMode) -> None:
    solution = solve(workload("w", L0), kept_at_l0=0.01, mode=mode)
    assert solution.mixes["w"] == (1.0, 0.0, 0.0, 0.0)
    assert solution.binding == frozenset()


def test_levels_may_be_missing_in_between() -> None:
    item = replace(workload("w", L0), levels={0: L0, 3: option(100)})
    assert solve(item).mixes["w"] == pytest.approx((0.01, 0.0, 0.0, 0.99))


def test_no_workload_pays_for_another() -> None:
    generous = workload("generous", L0, option(300, 0.4), share=0.9)
    strict = workload("strict", L0, option(300, -0.4), share=0.1)
    together = solve(generous, strict)
    assert together.mixes["strict"] == pytest.approx(solve(strict).mixes["strict"])
    assert gain(strict, together.mixes["strict"]) == pytest.approx(-0.1 * 0.5)
    assert together.binding == {"strict"}


def test_in_aggregate_one_workload_pays_for_another() -> None:
    generous = workload("generous", L0, option(300, 0.4), share=0.9)
    strict = workload("strict", L0, option(300, -0.4), share=0.1)
    together = solve(generous, strict, mode=AGGREGATE)
    assert gain(strict, together.mixes["strict"]) == pytest.approx(0.99 * -0.4)
    assert together.binding == frozenset()


def test_strata_share_the_floor_of_their_workload() -> None:
    easy = workload("w~0", L0, option(300, 0.1), share=0.3, floor="w")
    hard = workload("w~1", L0, option(300, -0.1), share=0.3, floor="w")
    other = workload("v", L0, option(300, -0.1), share=0.4)
    solution = solve(easy, hard, other, phi=0.0, kept_at_l0=0.0)
    assert solution.mixes["w~0"] == pytest.approx((0.0, 1.0, 0.0, 0.0))
    assert solution.mixes["w~1"] == pytest.approx((0.0, 1.0, 0.0, 0.0))
    assert solution.mixes["v"] == pytest.approx((1.0, 0.0, 0.0, 0.0))
    assert solution.binding == {"v"}


def test_the_whole_service_has_one_mix_of_the_levels_that_all_may_use() -> None:
    items = [
        workload("a", L0, option(300, 0.1), option(10, 0.1), share=3.0),
        workload("b", L0, option(300, -0.5), share=1.0),
    ]
    solution = solve(*items, mode=SERVICE, xi=0.05, kept_at_l0=0.0)
    # The mean difference to L0 is 3/4 0.1 - 1/4 0.5 = -0.05, and 0.05 * 0.5 may be given up.
    assert solution.mixes["a"] == solution.mixes["b"] == pytest.approx((0.5, 0.5, 0.0, 0.0))
    assert solution.binding == {"a", "b"}


@pytest.mark.parametrize("share", [0.0, 1e-9, 1e-4, 0.01])
@pytest.mark.parametrize("cheapness", [1.0, 1e-3, 1e-6])
def test_a_rare_or_cheap_workload_is_optimized_as_well_as_a_large_one(share: float, cheapness: float) -> None:
    large = workload("large", option(5000, 0, 5), option(1000, -0.02, 1), share=1 - share)
    small = workload(
        "small",
        option(1000 * cheapness, 0, cheapness),
        option(300 * cheapness, -0.05, 0.3 * cheapness),
        option(200 * cheapness, -0.10, 0.2 * cheapness),
        share=share,
    )
    assert solve(large, small).mixes["small"] == pytest.approx((0.01, 0.98, 0.01, 0.0))


@pytest.mark.parametrize("mode", FloorMode)
def test_without_traffic_all_workloads_count_the_same(mode: FloorMode) -> None:
    better, worse = (
        workload("better", L0, option(300, 0.1), option(150, -0.3)),
        workload("worse", L0, option(400, -0.1), option(350, -0.15)),
    )
    quiet = solve(replace(better, share=0.0), replace(worse, share=0.0), mode=mode)
    even = solve(replace(better, share=0.5), replace(worse, share=0.5), mode=mode)
    assert all(quiet.mixes[name] == pytest.approx(even.mixes[name]) for name in ("better", "worse"))


def test_levels_that_cost_the_same_meet_the_floor() -> None:
    item = workload("w", option(100), option(100, -0.1), option(100, -0.3))
    mix = solve(item, phi=0.3).mixes["w"]
    assert sum(mix) == pytest.approx(1)
    assert gain(item, mix) >= -0.1 * 0.3 * 0.5 - 1e-6


def test_of_levels_as_good_as_l0_the_cheapest_is_used_at_any_hour() -> None:
    solution = solve(workload("w", L0, option(300), option(150)), phi=0.0)
    assert solution.mixes["w"] == pytest.approx((0.01, 0.0, 0.99, 0.0))
    assert solution.binding == frozenset()


@pytest.mark.parametrize("mode", FloorMode)
def test_nothing_that_costs_anything(mode: FloorMode) -> None:
    item = workload("w", option(0), option(0))
    assert sum(solve(item, intensity=0.0, mode=mode, quality_worth=0.1).mixes["w"]) == pytest.approx(1)


def test_clean_electricity_still_saves_embodied_carbon() -> None:
    slow_but_frugal = workload("w", option(100, 0, 1.0), option(50, 0, 2.0), option(200, 0, 0.5))
    assert solve(slow_but_frugal, intensity=0.0).mixes["w"] == pytest.approx((0.01, 0.0, 0.99, 0.0))
    assert solve(slow_but_frugal, intensity=5000.0).mixes["w"] == pytest.approx((0.01, 0.99, 0.0, 0.0))


@pytest.mark.parametrize("mode", FloorMode)
def test_without_workloads_there_is_nothing_to_do(mode: FloorMode) -> None:
    solution = solve(phi=0.5, mode=mode)
    assert (solution.mixes, solution.binding, solution.floor) == ({}, frozenset(), 0.95)


def test_the_order_of_workloads_does_not_matter() -> None:
    items = [workload(str(i), L0, replace(BRIEF, gain=i / 50 - 0.2), VERY_BRIEF, share=0.1) for i in range(10)]
    for mode in FloorMode:
        forwards, backwards = solve(*items, mode=mode).mixes, solve(*reversed(items), mode=mode).mixes
        assert all(forwards[name] == pytest.approx(backwards[name]) for name in forwards)


def test_many_workloads() -> None:
    items = [workload(str(i), L0, BRIEF, VERY_BRIEF, share=1 / 300) for i in range(300)]
    mixes = solve(*items, kept_at_l0=0.0).mixes
    assert len(mixes) == 300
    assert all(mix == pytest.approx(mixes["0"]) for mix in mixes.values())


# The worth of quality.


def test_a_small_worth_of_quality_keeps_it_where_giving_it_up_saves_next_to_nothing() -> None:
    item = workload("w", L0, option(300, 0.0), option(299, -0.05))
    assert solve(item).mixes["w"] == pytest.approx((0.01, 0.0, 0.99, 0.0))
    assert solve(item, quality_worth=0.05).mixes["w"] == pytest.approx((0.01, 0.99, 0.0, 0.0))


def test_the_worth_is_counted_in_footprints_of_l0() -> None:
    # Half of L0's footprint is saved for a fifth of its quality: worth it until its whole quality is worth 2.5 of them.
    item = workload("w", option(1000), option(500, -0.1))
    assert solve(item, xi=1.0, quality_worth=2.45).mixes["w"] == pytest.approx((0.01, 0.99, 0.0, 0.0))
    assert solve(item, xi=1.0, quality_worth=2.55).mixes["w"] == pytest.approx((1.0, 0.0, 0.0, 0.0))


def test_a_floor_is_not_to_blame_for_quality_that_is_worth_its_carbon() -> None:
    item = workload("w", L0, option(999, -0.1))
    assert solve(item, phi=0.0).binding == {"w"}
    assert solve(item, phi=0.0, quality_worth=0.1).binding == frozenset()


def test_quality_without_a_base_is_worth_no_more_than_it_says() -> None:
    assert solve(workload("w", L0, BRIEF, base=0.0), quality_worth=0.05).mixes["w"] == pytest.approx((1, 0, 0, 0))


# What cannot be used.

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("bad", [NAN, INF, -INF, -1.0])
@pytest.mark.parametrize("field", ["energy_j", "device_s", "share", "base_quality", "intensity"])
def test_figures_that_are_no_figures(field: str, bad: float) -> None:
    item = workload("w", L0, BRIEF)
    outside: dict[str, float] = {}
    if field == "intensity":
        outside = {field: bad}
    elif field in ("share", "base_quality"):
        item = replace(item, **{field: bad})
    else:
        item = replace(item, levels={**item.levels, 1: replace(BRIEF, **{field: bad})})
    with pytest.raises(InvalidInput, match="finite, non-negative figures: check"):
        solve(workload("sound", L0), item, **outside)


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_a_claimed_difference_may_be_negative_but_must_be_finite(bad: float) -> None:
    with pytest.raises(InvalidInput, match="finite, non-negative figures: check"):
        solve(workload("w", L0, option(300, bad)))


@pytest.mark.parametrize("bad", [NAN, INF, -0.01, 1.01])
@pytest.mark.parametrize("field", ["xi", "kept_at_l0", "phi"])
@pytest.mark.parametrize("workloads", [[], [workload("w", L0, BRIEF)]])
def test_floors_that_no_mix_could_keep(field: str, bad: float, workloads: list[WorkloadOptions]) -> None:
    rule: dict[str, Any] = {field: bad}
    with pytest.raises(InvalidInput, match=r"must lie between 0 and 1.*no mix could keep such a floor"):
        solve(*workloads, **rule)


@pytest.mark.parametrize("bad", [NAN, INF, -0.01])
def test_a_worth_that_is_none(bad: float) -> None:
    with pytest.raises(InvalidInput, match=r"the worth of quality \(.*\) must not be negative"):
        solve(workload("w", L0, BRIEF), quality_worth=bad)


@pytest.mark.parametrize("mode", FloorMode)
def test_a_workload_twice(mode: FloorMode) -> None:
    with pytest.raises(InvalidInput, match="given to the optimizer twice"):
        solve(workload("w", L0, share=0.3), workload("w", L0, BRIEF, share=0.7), mode=mode)


@pytest.mark.parametrize("levels", [{}, {1: BRIEF}, {0: option(1000, 0.1), 1: BRIEF}, {0: option(1000, NAN)}])
def test_without_l0_there_is_nothing_to_compare_with(levels: Mapping[int, LevelOption]) -> None:
    with pytest.raises(InvalidInput, match="Workload w has no L0 to compare with, or one that differs from itself"):
        solve(workload("sound", L0), replace(workload("w"), levels=levels))


@pytest.mark.parametrize("status", [1, 2, 3, 4])
@pytest.mark.parametrize("x", [None, np.array([0.5, 0.5])])
def test_a_solver_that_gives_up_is_reported(
    monkeypatch: pytest.MonkeyPatch, status: int, x: NDArray[np.float64] | None
) -> None:
    def give_up(*_: object, **__: object) -> OptimizeResult:
        return OptimizeResult(status=status, x=x, message="numerical difficulties")

    monkeypatch.setattr(optimizer, "milp", give_up)
    with pytest.raises(OptimizerFailed, match="found no optimum: numerical difficulties"):
        solve(workload("w", L0, BRIEF))


def test_what_the_solvers_tolerance_adds_is_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    def roughly(*_: object, **__: object) -> OptimizeResult:
        return OptimizeResult(status=0, x=np.array([-1e-8, 1 + 1e-8, 0.25, 0.75 + 1e-7]), message="")

    monkeypatch.setattr(optimizer, "milp", roughly)
    mixes = solve(workload("v", L0, BRIEF), workload("w", L0, BRIEF)).mixes
    assert mixes["v"] == (0.0, 1.0, 0.0, 0.0)
    assert sum(mixes["w"]) == pytest.approx(1, abs=1e-15)


# How dirty an hour is.


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


@pytest.mark.parametrize(("intensity", "past"), [(NAN, [1.0, 2.0]), (1.0, [1.0, NAN]), (INF, [1.0]), (NAN, [])])
def test_dirtiness_of_no_figure(intensity: float, past: list[float]) -> None:
    with pytest.raises(InvalidInput, match="finite carbon intensities"):
        dirtiness(intensity, past)


# What holds whatever the figures.

figures = st.floats(0, 1e5) | st.sampled_from([0.0, 1.0, 100.0])
gains = st.integers(-500, 500).map(lambda thousandths: thousandths / 1000)
options = st.builds(LevelOption, energy_j=figures, device_s=st.floats(0, 1e3), gain=gains)
l0s = st.builds(LevelOption, energy_j=figures, device_s=st.floats(0, 1e3))
others = st.lists(st.none() | options, min_size=1, max_size=LEVELS - 1)
levels = st.builds(
    lambda l0, others: {0: l0, **{level: found for level, found in enumerate(others, 1) if found}}, l0s, others
)
shares = st.floats(0.001, 1)
cases = st.lists(
    st.builds(
        WorkloadOptions,
        workload=st.just(""),
        floor=st.sampled_from("fg"),
        share=shares,
        base_quality=st.floats(0.01, 1),
        levels=levels,
    ),
    min_size=1,
    max_size=3,
).map(lambda items: [replace(item, workload=f"w{number}") for number, item in enumerate(items)])
"""Up to three workloads; those of the same floor are strata of one."""
modes = st.sampled_from(FloorMode)
fractions = st.floats(0, 1)
few = settings(max_examples=60)

Case = list[WorkloadOptions]


@settings(max_examples=150)
@given(cases, modes, fractions, fractions, fractions, st.sampled_from([0.0, 0.02, 1.0]))
@example([workload("w", option(1), option(1, -0.5))], PER_WORKLOAD, 1.0, 1.0, 1.0, 0.0)
def test_every_mix_is_one_and_keeps_its_floor(
    items: Case, mode: FloorMode, phi: float, xi: float, kept: float, worth: float
) -> None:
    solution = solve(*items, mode=mode, phi=phi, xi=xi, kept_at_l0=kept, quality_worth=worth)
    assert solution.mixes.keys() == {item.workload for item in items}
    assert solution.floor == 1 - xi * phi
    for item in items:
        mix = solution.mixes[item.workload]
        assert len(mix) == LEVELS
        assert sum(mix) == pytest.approx(1, abs=1e-9)
        assert all(0 <= share <= 1 for share in mix)
        assert all(mix[level] == 0 for level in range(LEVELS) if level not in item.levels)
        assert mix[0] >= kept - 1e-6
    for group in groups(items, mode):
        assert weighted(group, gain, solution.mixes) >= -xi * phi * base_quality(group) - 1e-6


@few
@given(cases, st.sampled_from([PER_WORKLOAD, AGGREGATE]), fractions, fractions)
def test_no_mix_within_the_floor_is_cheaper(items: Case, mode: FloorMode, xi: float, kept: float) -> None:
    solution = solve(*items, mode=mode, xi=xi, kept_at_l0=kept)
    for group in groups(items, mode):
        least = least_by_hand(group, xi * base_quality(group), kept)
        assert weighted(group, expected, solution.mixes) <= least + 1e-5 * scale(group)


@few
@given(levels, st.floats(0.01, 1), fractions, fractions, st.floats(0, 2000))
def test_one_workload_is_the_papers_programme(
    found: Mapping[int, LevelOption], q0: float, xi: float, phi: float, intensity: float
) -> None:
    """Equations 2 to 6: minimise k0 e.x + k1 p.x with sum x = 1, 0 <= x <= 1 and q.x >= (1 - xi phi) q0."""
    item = replace(workload("w", base=q0), levels=found)
    mix = solve(item, xi=xi, phi=phi, intensity=intensity, kept_at_l0=0.0).mixes["w"]
    used = sorted(found)
    e, p, q = (np.array([figure(found[level]) for level in used]) for figure in (
        lambda level: level.energy_j / 3.6e6, lambda level: level.device_s, lambda level: q0 + level.gain,
    ))  # fmt: skip
    costs = intensity * HARDWARE.pue * e + HARDWARE.embodied_g / HARDWARE.lifetime_s * p
    x = np.array(mix)[used]
    assert q @ x >= (1 - xi * phi) * q0 - 1e-6
    assert costs @ x <= cheapest_vertex(costs, q, (1 - xi * phi) * q0) + 1e-5 * costs.max()


def cheapest_vertex(costs: Floats, q: Floats, floor: float) -> float:
    """A vertex is one level that is good enough, or two that just are, one of them better than the floor."""
    found = [cost for cost, quality in zip(costs, q, strict=True) if quality >= floor]
    for one, other in combinations(range(len(q)), 2):
        if min(q[one], q[other]) < floor < max(q[one], q[other]):
            part = (floor - q[other]) / (q[one] - q[other])
            found.append(part * costs[one] + (1 - part) * costs[other])
    return float(min(found))


@few
@given(cases, fractions, fractions)
def test_the_whole_service_is_the_papers_programme_on_pooled_figures(items: Case, xi: float, kept: float) -> None:
    solution = solve(*items, mode=SERVICE, xi=xi, kept_at_l0=kept)
    weights = parts(items)

    def mean(figure: str, level: int) -> float:
        return sum(part * getattr(item.levels[level], figure) for part, item in zip(weights, items, strict=True))

    common = [level for level in range(LEVELS) if all(level in item.levels for item in items)]
    found = {level: option(mean("energy_j", level), mean("gain", level), mean("device_s", level)) for level in common}
    pooled = replace(workload("all", base=base_quality(items)), levels=found)
    mixes = set(solution.mixes.values())
    assert len(mixes) == 1
    least = least_by_hand([pooled], xi * pooled.base_quality, kept)
    assert expected(pooled, mixes.pop()) <= least + 1e-5 * scale(items)


@few
@given(cases, modes, st.floats(0, 0.5))
def test_a_lower_floor_never_costs_more(items: Case, mode: FloorMode, kept: float) -> None:
    solutions = [solve(*items, mode=mode, xi=xi, kept_at_l0=kept) for xi in np.linspace(0, 1, 5)]
    for group in groups(items, mode):
        costs = [weighted(group, expected, solution.mixes) for solution in solutions]
        assert all(lower <= higher + 1e-5 * scale(group) for higher, lower in pairwise(costs))


@few
@given(cases, fractions)
def test_one_floor_for_all_is_cheaper_than_one_each_or_one_mix(items: Case, xi: float) -> None:
    cost = {mode: weighted(items, expected, solve(*items, mode=mode, xi=xi).mixes) for mode in FloorMode}
    assert cost[AGGREGATE] <= cost[PER_WORKLOAD] + 1e-5 * scale(items)
    assert cost[AGGREGATE] <= cost[SERVICE] + 1e-5 * scale(items)


comparable = st.builds(LevelOption, energy_j=st.floats(100, 3000), device_s=st.floats(0, 5), gain=gains)


@few
@given(st.lists(comparable, min_size=1, max_size=LEVELS - 1), fractions, st.sampled_from([PER_WORKLOAD, SERVICE]))
def test_quality_that_is_worth_more_is_never_less(others: list[LevelOption], xi: float, mode: FloorMode) -> None:
    item = workload("w", option(1000, 0, 1), *others)
    qualities = [
        gain(item, solve(item, xi=xi, mode=mode, quality_worth=worth).mixes["w"]) for worth in (0, 0.05, 0.5, 5)
    ]
    assert all(less <= more + 1e-4 for less, more in pairwise(qualities))


@few
@given(cases, modes, st.integers(-40, 20), st.integers(-40, 20), st.sampled_from([0.0, 0.1]))
def test_only_ratios_of_costs_and_of_shares_matter(
    items: Case, mode: FloorMode, cheaper: int, rarer: int, worth: float
) -> None:
    """In powers of two, which leave every digit as it is."""
    scaled = [
        replace(
            item,
            share=item.share * 2.0**rarer,
            levels={
                level: replace(
                    found, energy_j=found.energy_j * 2.0**cheaper, device_s=found.device_s * 2.0**cheaper
                )
                for level, found in item.levels.items()
            },
        )
        for item in items
    ]  # fmt: skip
    before, after = (solve(*these, mode=mode, quality_worth=worth) for these in (items, scaled))
    assert after.mixes == before.mixes
    assert after.binding == before.binding


@few
@given(cases, fractions, st.floats(0, 0.9))
def test_binding_names_the_workloads_that_would_save_more_without_their_floor(
    items: Case, xi: float, kept: float
) -> None:
    alone = [replace(item, floor=item.workload) for item in items]
    solution = solve(*alone, xi=xi, kept_at_l0=kept)
    for item in alone:
        cheapest = min(map(grams, item.levels.values()))
        free = kept * grams(item.levels[0]) + (1 - kept) * cheapest
        missed = (expected(item, solution.mixes[item.workload]) - free) / max(scale([item]), 1e-30)
        if missed > 2e-6:
            assert item.workload in solution.binding
        if missed < 5e-7:
            assert item.workload not in solution.binding
