from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from app.domain.arrays import Floats
from app.domain.batch import Schedule
from app.domain.deferral import Placement, plan
from app.domain.errors import InvalidInput
from app.domain.work import Demand, Work, margin_h

HOURS = 12
STARTS = np.arange(float(HOURS))
ASAP, CARBON = Schedule.ASAP, Schedule.CARBON
ROUNDING_H = 1e-6
Cost = float | Sequence[float]


def by_hour(figures: Cost, hours: int) -> Floats:
    """One figure for all hours, or the last one for those that are not given."""
    given = np.atleast_1d(np.asarray(figures, dtype=float))
    return np.append(given, np.full(hours - len(given), given[-1]))


def work(
    *requests: int,
    due_h: float = HOURS,
    cost: Mapping[str, Cost] | Cost = 1.0,
    device_s: Cost = 36.0,
    schedule: Schedule = CARBON,
    hours: int = HOURS,
) -> Work:
    """Of 36 s each, 100 requests take one device an hour. Without zones it may run in DE."""
    costs = cost if isinstance(cost, Mapping) else {"DE": cost}
    demand = {
        zone: Demand(device_s=by_hour(device_s, hours), cost_g=by_hour(figures, hours))
        for zone, figures in costs.items()
    }
    return Work(requests=np.array(requests, np.int64), due_h=due_h, schedule=schedule, demand=demand)


def planned(*works: Work, starts_h: Floats = STARTS, **capacity: float) -> Sequence[Placement]:
    return plan(works, capacity or {"DE": 1.0}, starts_h)


def hours(*works: Work, **options: Any) -> list[list[int]]:
    return [placement.hour.tolist() for placement in planned(*works, **options)]


def zones(*works: Work, **options: Any) -> list[str]:
    return ["".join(zone[0] for zone in placement.zone) for placement in planned(*works, **options)]


# What must hold of every plan, worked out again.


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A shard as it was planned."""

    batch: int
    due_h: float
    hour: int
    start_by_h: float
    half_h: float
    """How long it takes at half the capacity, its answers as long as in the hour in which they are longest."""
    full_s: float
    """Device-seconds in its hour."""


def pieces(works: Sequence[Work], placements: Sequence[Placement], zone: str, capacity: float) -> list[Piece]:
    """Of a zone, in the order of deadlines."""
    found = [
        Piece(
            batch=batch,
            due_h=item.due_h,
            hour=int(hour),
            start_by_h=start_by_h,
            half_h=float(number * item.demand[zone].device_s.max() / 3600 / (capacity / 2)),
            full_s=float(number * item.demand[zone].device_s[hour]),
        )
        for batch, (item, placement) in enumerate(zip(works, placements, strict=True))
        for number, place, hour, start_by_h in zip(
            item.requests, placement.zone, placement.hour, placement.start_by_h, strict=True
        )
        if place == zone
    ]
    return sorted(found, key=lambda piece: piece.due_h)


def ends(shards: Sequence[Piece], starts_h: Floats, released: bool) -> Iterator[tuple[Piece, float]]:
    """When each shard ends at half the capacity, earliest deadline first, interrupted for those that are due earlier.

    Each begins in its hour or later if that is when it is `released`, else at once.
    """
    left = [piece.half_h for piece in shards]
    for hour, start in enumerate(starts_h):
        now, stop = start, starts_h[hour + 1] if hour + 1 < len(starts_h) else np.inf
        for index, piece in enumerate(shards):
            if left[index] > 0 and (piece.hour <= hour or not released):
                spent = min(left[index], stop - now)
                now, left[index] = now + spent, left[index] - spent
                if left[index] <= 1e-12:
                    left[index] = 0.0
                    yield piece, now


def lateness(shards: Sequence[Piece], starts_h: Floats, released: bool = False) -> dict[int, float]:
    """By batch: how much it ends too late, or 0."""
    found: dict[int, float] = {}
    for piece, end in ends(shards, starts_h, released):
        found[piece.batch] = max(found.get(piece.batch, 0.0), end - piece.due_h)
    return found


def assert_held_work_is_safe(shards: Sequence[Piece], starts_h: Floats) -> None:
    """Whatever waits at the start of an hour could all begin then."""
    for hour, start in enumerate(starts_h):
        now = start
        for piece in shards:
            if piece.hour >= hour:
                now += piece.half_h
                assert now <= piece.due_h + ROUNDING_H


def assert_hours_are_not_over_full(shards: Sequence[Piece], starts_h: Floats, capacity: float) -> None:
    """One shard may run over."""
    room_s = capacity * 3600 * np.append(np.diff(starts_h), 1.0)
    for hour, room in enumerate(room_s):
        begun = [piece.full_s for piece in shards if piece.hour == hour]
        assert sum(begun) <= room + max(begun, default=0.0) + 0.01


@st.composite
def demands(draw: st.DrawFn, hours: int) -> Demand:
    base = draw(st.sampled_from([3.6, 18.0, 36.0, 50.0]))
    shorter = draw(st.lists(st.sampled_from([1.0, 0.8, 0.5]), min_size=hours, max_size=hours))
    costs = draw(st.lists(st.integers(0, 5), min_size=hours, max_size=hours))
    return Demand(device_s=base * np.array(shorter), cost_g=np.array(costs, dtype=float))


@st.composite
def backlogs(draw: st.DrawFn, names: Sequence[str] = ("DE",)) -> tuple[Sequence[Work], Mapping[str, float], Floats]:
    number = draw(st.integers(1, 8))
    starts_h = np.append(0.0, draw(st.sampled_from([1.0, 0.5, 1e-6])) + np.arange(number - 1.0))
    works = [
        Work(
            requests=np.array(draw(st.lists(st.integers(1, 100), max_size=5)), np.int64),
            due_h=draw(st.one_of(st.integers(-1, 14), st.floats(-1, 14))),
            schedule=draw(st.sampled_from([ASAP, CARBON, CARBON])),
            demand={
                zone: draw(demands(number))
                for zone in draw(st.lists(st.sampled_from(names), min_size=1, max_size=len(names), unique=True))
            },
        )
        for _ in range(draw(st.integers(0, 5)))
    ]
    return works, {zone: draw(st.sampled_from([0.3, 1.0, 2.0])) for zone in names}, starts_h


@settings(max_examples=250)
@given(st.one_of(backlogs(), backlogs(("DE", "FR")), backlogs(("DE", "FR", "SE"))))
def test_every_plan_keeps_its_promise(backlog: tuple[Sequence[Work], Mapping[str, float], Floats]) -> None:
    works, capacity, starts_h = backlog
    placements = plan(works, capacity, starts_h)
    late: dict[int, float] = {}
    for item, placement in zip(works, placements, strict=True):
        assert len(placement.zone) == len(placement.hour) == len(placement.start_by_h) == len(item.requests)
        assert set(placement.zone) <= item.demand.keys()
        for hour, start_by_h in zip(placement.hour, placement.start_by_h, strict=True):
            assert 0 <= hour < len(starts_h)
            assert start_by_h < 0 or starts_h[hour] <= start_by_h
    for zone, devices in capacity.items():
        shards = pieces(works, placements, zone, devices)
        there = lateness(shards, starts_h)
        late = {batch: max(late.get(batch, 0.0), there.get(batch, 0.0)) for batch in {*late, *there}}
        if max(there.values(), default=0.0) < ROUNDING_H:
            assert_held_work_is_safe(shards, starts_h)
            assert max(lateness(shards, starts_h, released=True).values(), default=0.0) < ROUNDING_H
            if all(item.schedule is CARBON and item.due_h <= starts_h[-1] + 1 for item in works):
                assert_hours_are_not_over_full(shards, starts_h, devices)
    for batch, placement in enumerate(placements):
        assert placement.late_h == pytest.approx(late.get(batch, 0.0), abs=2 * ROUNDING_H)


# The cleanest hours.


def test_shards_take_the_cleanest_hours_as_far_as_there_is_room() -> None:
    # One device, a shard of half an hour: two an hour. Latest starts are 6, 7, 8, 9, 10 and 11.
    assert hours(work(50, 50, 50, 50, 50, 50, cost=[9, 9, 3, 9, 1, 9, 2, 9])) == [[4, 4, 6, 6, 2, 2]]


def test_a_latest_start_keeps_a_shard_from_a_cleaner_hour_after_it() -> None:
    (placement,) = planned(work(50, 50, 50, due_h=5, cost=[9, 5, 9, 9, 1]))
    assert placement.start_by_h == pytest.approx([2, 3, 4])
    assert placement.hour.tolist() == [1, 1, 4]
    assert placement.late_h == 0


def test_later_work_pushes_the_latest_starts_of_earlier_work_forward() -> None:
    early, late = planned(work(50, due_h=5), work(100, 100, due_h=6, cost=[2] * 5 + [1]))
    assert late.start_by_h == pytest.approx([2, 4])
    assert early.start_by_h == pytest.approx([1])


def test_work_that_is_due_after_a_pause_pushes_nothing() -> None:
    early, _ = planned(work(50, due_h=5), work(100, due_h=12))
    assert early.start_by_h == pytest.approx([4])


def test_of_equally_clean_hours_the_earlier_is_taken() -> None:
    assert hours(work(100, 100, cost=[2, 1, 2, 1, 1])) == [[1, 3]]
    assert hours(work(*[10] * 25, due_h=9)) == [[0] * 10 + [1] * 10 + [2] * 5]


def test_what_is_due_first_chooses_first_whatever_the_order_of_batches() -> None:
    tight, loose = work(100, due_h=4, cost=[2, 1]), work(100, due_h=12, cost=[2, 1, 3])
    assert hours(tight, loose) == [[1], [0]]
    assert hours(loose, tight) == [[0], [1]]


def test_batches_may_find_other_hours_clean() -> None:
    assert hours(work(100, cost=[3, 1, 2]), work(100, cost=[3, 2, 1, 3])) == [[1], [2]]


def test_the_first_hour_has_what_is_left_of_it() -> None:
    starts_h = np.append(0.0, 0.25 + np.arange(HOURS - 1.0))
    assert hours(work(*[10] * 5, cost=[1, 3, 2, 3]), starts_h=starts_h) == [[0, 0, 2, 2, 2]]


def test_an_hour_that_has_as_good_as_passed_takes_nothing() -> None:
    starts_h = np.append(0.0, 1e-9 + np.arange(HOURS - 1.0))
    assert hours(work(100, 100, cost=[0, 2, 1, 2]), starts_h=starts_h) == [[2, 1]]


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_scale_of_figures_does_not_matter(scale: float) -> None:
    costs = scale * np.array([9, 9, 3, 9, 1, 9, 2, 9.0])
    item = work(*[50] * 6, device_s=36 * scale, cost=costs.tolist())
    assert hours(item, DE=scale) == [[4, 4, 6, 6, 2, 2]]
    assert hours(replace(item, requests=item.requests * 10**9), DE=scale * 1e9) == [[4, 4, 6, 6, 2, 2]]


@pytest.mark.parametrize("device_s", [0.1, 0.3, 7 / 3, 11.1])
@pytest.mark.parametrize("number", [1, 3, 7, 10, 49])
def test_an_hour_that_is_filled_exactly_takes_all(device_s: float, number: int) -> None:
    item = work(*[17] * number, device_s=device_s, cost=[2, 2, 1, 2], due_h=HOURS)
    assert set(planned(item, DE=17 * number * device_s / 3600)[0].hour) == {2}


def test_a_costly_hour_with_short_answers_takes_more_requests() -> None:
    item = work(*[50] * 4, device_s=[36, 18, 36], cost=[3, 1, 2])
    assert hours(item) == [[1, 1, 1, 1]]
    # Deadlines reckon with the longest answers.
    assert planned(item)[0].start_by_h == pytest.approx([8, 9, 10, 11])


def test_deadlines_reckon_with_answers_longer_than_in_any_hour_that_is_forecast() -> None:
    item = work(100, 100)
    longer = Demand(device_s=item.demand["DE"].device_s, cost_g=item.demand["DE"].cost_g, cleanest_s=72.0)
    assert planned(replace(item, demand={"DE": longer}))[0].start_by_h == pytest.approx([4, 8])


def test_a_deadline_beyond_the_horizon_leaves_every_hour_open() -> None:
    (placement,) = planned(work(100, 100, due_h=1000, cost=[2] * 11 + [1]))
    assert placement.hour.tolist() == [11, 0]
    assert placement.start_by_h == pytest.approx([996, 998])


@settings(max_examples=150)
@given(
    st.lists(st.tuples(st.integers(1, 12), st.integers(0, 30)), min_size=1, max_size=4),
    st.lists(st.integers(0, 5), min_size=8, max_size=8),
    st.lists(st.sampled_from([225.0, 450.0]), min_size=8, max_size=8),
    st.sampled_from([1.0, 0.5]),
)
def test_work_of_the_same_costs_costs_the_least_that_it_can(
    batches: Sequence[tuple[int, int]], costs: Sequence[float], device_s: Sequence[float], first_h: float
) -> None:
    """As a linear programme has it, in which shards could be divided; here eight or sixteen of them fill an hour."""
    starts_h = np.append(0.0, first_h + np.arange(7.0))
    works = [work(*[1] * number, due_h=due, cost=costs, device_s=device_s, hours=8) for due, number in batches]
    placements = plan(works, {"DE": 1.0}, starts_h)
    if any(placement.late_h for placement in placements):
        return
    shards = pieces(works, placements, "DE", 1.0)

    def may_wait(number: int, until: float) -> bool:
        """Whether the last `number` shards could all begin then."""
        now = until
        for piece in shards[len(shards) - number :]:
            now += piece.half_h
            if now > piece.due_h + 1e-9:
                return False
        return True

    must_begin = [
        len(shards) - max(number for number in range(len(shards) + 1) if may_wait(number, until))
        for until in [*starts_h[1:], np.inf]
    ]
    room = np.floor(3600 * np.append(np.diff(starts_h), 1.0) / np.array(device_s) + 1e-9)
    least = linprog(costs, A_ub=-np.tri(8), b_ub=-np.array(must_begin), bounds=[(0, most) for most in room])
    assert least.status == 0
    begun = np.concatenate([placement.hour for placement in placements])
    assert np.array(costs)[begun].sum() == pytest.approx(least.fun, abs=1e-6)


# Shards that no hour takes as a whole.


def test_a_shard_longer_than_an_hour_begins_where_it_costs_least_and_runs_over() -> None:
    # Three hours each: from 3 on at 1 + 1 + 2, then from 0 on at 5 + 3 + 5 rather than from 6 on at 9 + 9 + 9.
    assert hours(work(300, cost=[5, 3, 5, 1, 1, 2, 9])) == [[3]]
    assert hours(work(300, 300, due_h=16, cost=[5, 3, 5, 1, 1, 2, 9])) == [[3, 0]]


def test_what_runs_over_takes_the_next_hour_with_it() -> None:
    assert hours(work(150, due_h=8, cost=[5, 5, 1, 1]), work(50, 50, cost=[5, 5, 1, 1, 5])) == [[2], [3, 0]]


def test_a_long_shard_does_not_hold_up_the_short_ones_after_it() -> None:
    assert hours(work(110, *[10] * 5, cost=[9] * 6 + [1, 1, 9])) == [[6, 7, 7, 7, 7, 7]]


def test_of_equally_clean_starts_the_earlier_is_taken() -> None:
    assert hours(work(110, cost=0.1)) == hours(work(110, cost=0.0)) == [[0]]


def test_a_shard_longer_than_the_horizon_begins_at_once_if_its_deadline_allows_nothing_else() -> None:
    (placement,) = planned(work(5000, cost=[2, 1]))
    assert placement.hour.tolist() == [0]
    assert placement.late_h == pytest.approx(100 - HOURS)


# Work that runs at once.


def test_work_that_wants_to_runs_at_once_and_takes_the_room_of_what_can_wait() -> None:
    cost = [1, 2, 3]
    waits, runs = work(50, 50, 50, cost=cost), work(50, 50, 50, cost=cost, schedule=ASAP)
    assert hours(waits, runs) == [[1, 2, 2], [0, 0, 1]]


def test_of_work_that_runs_at_once_what_is_due_first_goes_first() -> None:
    later, sooner = work(100, due_h=11, schedule=ASAP), work(100, due_h=10, schedule=ASAP)
    assert hours(later, sooner) == [[1], [0]]


def test_work_that_runs_at_once_leaves_no_gap_and_begins_by_its_latest_start() -> None:
    (placement,) = planned(work(30, 80, due_h=2.2, schedule=ASAP))
    assert placement.start_by_h == pytest.approx([0, 0.6])
    assert placement.hour.tolist() == [0, 0]
    assert placement.late_h == 0


def test_where_all_hours_are_full_what_could_wait_begins_at_once() -> None:
    runs, waits = work(*[100] * 6, due_h=1000, schedule=ASAP), work(50, due_h=5, cost=[3, 2, 1])
    assert hours(runs, waits) == [[0, 1, 2, 3, 4, 5], [0]]


# Deadlines that cannot be kept.


def test_a_late_batch_runs_at_once_and_says_by_how_much_it_is_late() -> None:
    (placement,) = planned(work(100, 100, 100, due_h=4, cost=[3, 2, 1]))
    assert placement.late_h == pytest.approx(2)
    assert placement.start_by_h == pytest.approx([-2, 0, 2])
    assert placement.hour.tolist() == [0, 0, 2]


def test_a_late_batch_makes_none_late_that_is_due_before_it() -> None:
    late, early = planned(work(*[100] * 10, due_h=6), work(100, due_h=5))
    assert (early.late_h, late.late_h) == (0, pytest.approx(16))


def test_a_batch_whose_deadline_has_passed() -> None:
    (placement,) = planned(work(50, 50, due_h=-3, cost=[2, 1]))
    assert placement.hour.tolist() == [0, 0]
    assert placement.start_by_h == pytest.approx([-5, -4])
    assert placement.late_h == pytest.approx(5)


@pytest.mark.parametrize("tenths", [3, 6, 7, 11, 14])
def test_what_ends_exactly_when_it_is_due_is_in_time(tenths: int) -> None:
    works = [work(5, due_h=(number + 1) / 10, device_s=36) for number in range(tenths)]
    assert [placement.late_h for placement in planned(*works)] == [0] * tenths


def test_hours_that_late_work_fills_have_no_room_left() -> None:
    late, waits = work(*[100] * 4, due_h=1), work(100, cost=[5, 4, 1, 1, 4, 2, 5])
    assert hours(late, waits) == [[0, 1, 2, 3], [5]]


# Zones.

FIRST_DE = {"DE": [1.0, 1.0, 5.0], "FR": [2.0]}


def test_a_batch_runs_in_the_cleaner_zone() -> None:
    assert zones(work(50, cost={"DE": 2, "FR": 1}), DE=1, FR=1) == ["F"]
    assert zones(work(50, cost={"DE": 1, "FR": 2}), DE=1, FR=1) == ["D"]


def test_the_zone_changes_back_with_the_costs() -> None:
    swapping = {"DE": [1, 1, 4, 4, 1, 4], "FR": [4, 4, 1, 1, 4]}
    (placement,) = planned(work(*[100] * 5, cost=swapping), DE=1, FR=1)
    assert sorted(zip(placement.hour, placement.zone, strict=True)) == [
        (0, "DE"), (1, "DE"), (2, "FR"), (3, "FR"), (4, "DE"),
    ]  # fmt: skip


def test_equally_clean_zones_are_taken_in_the_order_of_the_demand() -> None:
    assert zones(work(50, cost={"FR": 1, "DE": 1}), work(50, cost={"DE": 1, "FR": 1}), DE=1, FR=1) == ["F", "D"]


def test_a_batch_stays_where_it_must() -> None:
    assert zones(work(*[100] * 3, cost={"DE": 9}), work(50, cost={"FR": 9, "DE": 9.5}), DE=1, FR=1) == ["DDD", "F"]


def test_a_zone_without_workers_is_passed_over() -> None:
    assert zones(work(50, cost={"DE": 1, "FR": 2}), FR=1) == ["F"]


def test_a_zone_whose_clean_hours_are_full_spills_into_the_other() -> None:
    assert zones(work(*[50] * 6, cost=FIRST_DE), DE=1, FR=1) == ["DDDDFF"]
    assert hours(work(*[50] * 6, cost=FIRST_DE), DE=1, FR=1) == [[0, 0, 1, 1, 0, 0]]


def test_the_hours_of_batches_that_must_stay_are_theirs() -> None:
    bound, free = work(100, cost={"DE": [9, 9, 1, 9]}), work(100, cost={"DE": [9, 9, 1, 9], "FR": 5})
    for items in ([bound, free], [replace(bound, due_h=11), free], [free, replace(bound, due_h=14)]):
        found = planned(*items, DE=1, FR=1)
        assert sorted((placement.zone[0], placement.hour[0]) for placement in found) == [("DE", 2), ("FR", 0)]


def test_no_zone_gets_more_than_it_can_end_at_half_its_capacity() -> None:
    # Four hours are two shards at half the capacity, in either zone.
    found = planned(work(100, 100, 100, due_h=4, cost={"DE": 1, "FR": 2}), DE=1, FR=1)
    assert found[0].zone == ["DE", "DE", "FR"]
    assert found[0].late_h == 0


def test_shards_are_not_divided_between_zones() -> None:
    # DE could end 1.6 of them, FR two.
    found = planned(work(100, 100, 100, due_h=4, cost={"DE": 1, "FR": 2}), DE=0.8, FR=1)
    assert found[0].zone == ["DE", "FR", "FR"]
    assert found[0].late_h == 0


def test_many_small_batches_are_divided_as_one_would_be() -> None:
    items = [work(60, due_h=6 + number / 100, cost={"DE": 1, "FR": 2}) for number in range(8)]
    assert [placement.late_h for placement in planned(*items, DE=1, FR=1)] == [0] * 8


def test_a_batch_with_a_choice_leaves_room_for_one_without_that_is_due_later() -> None:
    free, bound = work(*[50] * 10, due_h=10, cost={"DE": 1, "FR": 2}), work(*[50] * 10, due_h=11, cost={"DE": 1})
    assert [placement.late_h for placement in planned(free, bound, DE=1, FR=1)] == [0, 0]


def test_a_zone_is_not_chosen_for_hours_that_are_too_late() -> None:
    # DE's last hour is free of carbon, and at half the capacity ends half an hour's work.
    item = work(*[10] * 10, due_h=12, cost={"DE": [10] * 11 + [0], "FR": 5})
    (placement,) = planned(item, DE=1, FR=1)
    assert placement.zone == ["DE"] * 5 + ["FR"] * 5
    assert placement.hour.tolist() == [11] * 5 + [0] * 5


def test_what_is_late_everywhere_is_shared_so_that_it_ends_first() -> None:
    (placement,) = planned(work(*[100] * 12, due_h=4, cost={"DE": 1, "FR": 2}), DE=1, FR=2)
    assert [placement.zone.count(zone) for zone in ("DE", "FR")] == [4, 8]
    assert placement.late_h == pytest.approx(4)


def test_late_batches_are_shared_too() -> None:
    items = [work(100, due_h=-1, cost={"DE": 1, "FR": 2}) for _ in range(6)]
    assert sorted(zones(*items, DE=1, FR=1)) == ["D"] * 3 + ["F"] * 3


def test_work_that_runs_at_once_takes_the_zone_that_is_cleaner_now() -> None:
    item = work(100, cost={"DE": [3, 1], "FR": [2, 9]}, schedule=ASAP)
    assert zones(item, DE=1, FR=1) == ["F"]
    assert zones(replace(item, schedule=CARBON), DE=1, FR=1) == ["D"]


def test_work_that_runs_at_once_uses_both_zones() -> None:
    (placement,) = planned(work(*[50] * 6, cost={"DE": 1, "FR": 2}, schedule=ASAP), DE=1, FR=1)
    assert placement.zone == ["DE", "DE", "DE", "DE", "FR", "FR"]
    assert placement.hour.tolist() == [0, 0, 1, 1, 0, 0]


# Nothing to plan, and what cannot be planned.


def test_nothing_to_plan() -> None:
    assert plan([], {"DE": 1.0}, STARTS) == plan([], {}, STARTS) == []
    empty, other = planned(work(), work(50), DE=1, FR=1)
    assert (list(empty.zone), empty.hour.tolist(), empty.start_by_h.tolist(), empty.late_h) == ([], [], [], 0)
    assert other.hour.tolist() == [0]


def test_the_input_is_left_as_it_was() -> None:
    item = work(50, 150, cost=[3, 2, 1])
    before = [item.requests.copy(), item.demand["DE"].device_s.copy(), item.demand["DE"].cost_g.copy()]
    planned(item)
    for array, old in zip((item.requests, item.demand["DE"].device_s, item.demand["DE"].cost_g), before, strict=True):
        assert (array == old).all()


@pytest.mark.parametrize(
    ("item", "capacity", "message"),
    [
        (work(1, cost={"FR": 1}), {"DE": 1.0}, "No worker is in FR: start one there."),
        (work(1, cost={"FR": 1, "SE": 1}), {"DE": 1.0}, "No worker is in FR or SE: start one there."),
        (work(1, cost={}), {"DE": 1.0}, "No worker is in any zone: start one there."),
        (work(1, hours=3), {"DE": 1.0}, "covers 3 and 3 hours, and the horizon has 12."),
        (
            replace(work(1), demand={"DE": Demand(device_s=np.ones(HOURS), cost_g=np.ones(3))}),
            {"DE": 1.0},
            "covers 12 and 3 hours, and the horizon has 12.",
        ),
        *((work(1), {"DE": devices}, "cannot be planned with.") for devices in (0.0, -1.0, np.inf, np.nan)),
        *((work(1, device_s=[1, bad]), {"DE": 1.0}, "must be positive") for bad in (0.0, -1.0, np.inf, np.nan)),
        *((work(1, cost=[1, bad]), {"DE": 1.0}, "its cost and deadline finite") for bad in (np.inf, -np.inf, np.nan)),
        *((work(1, due_h=bad), {"DE": 1.0}, "its cost and deadline finite") for bad in (np.inf, np.nan)),
    ],
)
def test_what_cannot_be_planned(item: Work, capacity: Mapping[str, float], message: str) -> None:
    with pytest.raises(InvalidInput) as error:
        plan([item], capacity, STARTS)
    assert message in error.value.message


def test_a_deadline_keeps_a_margin_of_its_window_and_at_least_five_minutes() -> None:
    assert [margin_h(window) for window in (0.0, 1.0, 24.0, 168.0)] == pytest.approx([1 / 12, 1 / 12, 0.48, 3.36])
