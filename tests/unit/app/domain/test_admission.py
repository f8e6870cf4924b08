from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.admission import MOST_TRIALS, Admission, admit
from app.domain.arrays import Floats
from app.domain.batch import Schedule
from app.domain.errors import InvalidInput
from app.domain.work import Demand, Work

HOURS = 24
STARTS: Floats = np.arange(HOURS, dtype=np.float64)
ASAP, CARBON = Schedule.ASAP, Schedule.CARBON
DEVICE_S = 36.0
"""Half of a device takes two hours for 100 requests."""
ROUNDING_H = 1e-5


def work(
    requests: int,
    due_h: float,
    promised: bool = False,
    zones: Sequence[str] = ("DE",),
    schedule: Schedule = CARBON,
    shards: int = 10,
) -> Work:
    demand = {
        zone: Demand(device_s=np.full(HOURS, DEVICE_S), cost_g=np.linspace(2.0 + place, 1.0, HOURS))
        for place, zone in enumerate(zones)
    }
    divided = np.diff(np.linspace(0, requests, shards + 1).astype(np.int64))
    return Work(requests=divided, due_h=due_h, schedule=schedule, demand=demand, promised=promised)


def admitted(*works: Work, devices: float = 1.0) -> Admission:
    """Who was not promised anything yet asks."""
    return admit(works, [index for index, each in enumerate(works) if not each.promised], {"DE": devices}, STARTS)


def late_h(works: Sequence[Work], found: Admission, capacity: Mapping[str, float]) -> list[float]:
    """By how much each would end too late if half of the machines ran what is promised, earliest deadline first, and
    nothing else: simulated, zone by zone and request by request."""
    late = [0.0] * len(works)
    for zone, devices in capacity.items():
        now_h = 0.0
        for index in sorted(range(len(works)), key=lambda index: works[index].due_h):
            if not found.promised[index]:
                continue
            for requests, place in zip(works[index].requests, found.placements[index].zone, strict=True):
                if place == zone:
                    now_h += float(requests) * DEVICE_S / 3600 / (devices / 2)
                    late[index] = max(late[index], now_h - works[index].due_h)
    return late


# Newcomers.


def test_a_newcomer_is_promised_its_deadline() -> None:
    found = admitted(work(100, 10, promised=True), work(100, 4))
    assert list(found.promised) == [True, True]
    assert [placement.late_h for placement in found.placements] == [0, 0]


def test_a_newcomer_that_would_be_late_is_not_promised_its_deadline() -> None:
    found = admitted(work(100, 10, promised=True), work(500, 11))
    assert list(found.promised) == [True, False]


@pytest.mark.parametrize("due_h", [6.0, 8.0, 9.9])
def test_a_newcomer_that_would_endanger_a_promise_is_refused_though_it_would_be_in_time_itself(due_h: float) -> None:
    found = admitted(work(400, 10, promised=True), work(200, due_h))
    assert list(found.promised) == [True, False]
    assert found.placements[0].late_h == 0


def test_what_is_refused_is_placed_behind_what_is_promised_and_holds_nobody_up() -> None:
    kept = work(400, 10, promised=True)
    alone, beside = admitted(kept), admitted(kept, work(2000, 6))
    assert list(beside.promised) == [True, False]
    assert beside.placements[0].start_by_h.tolist() == alone.placements[0].start_by_h.tolist()
    assert beside.placements[0].late_h == 0
    refused = beside.placements[1]
    assert np.isinf(refused.start_by_h).all()
    assert refused.hour[0] == 0
    assert refused.late_h == pytest.approx(48 - 6)


def test_what_was_refused_is_promised_once_there_is_room() -> None:
    asks = work(200, 8)
    assert list(admitted(work(400, 10, promised=True), asks).promised) == [True, False]
    assert list(admitted(work(250, 10, promised=True), asks).promised) == [True, True]


def test_what_ends_exactly_when_it_is_due_is_promised() -> None:
    assert list(admitted(work(300, 10, promised=True), work(200, 10)).promised) == [True, True]


# Several at once.


def test_nobody_asks() -> None:
    assert admit([], [], {"DE": 1.0}, STARTS) == Admission(placements=[], promised=[])
    found = admitted(work(100, 10, promised=True), work(900, 12, promised=True))
    assert list(found.promised) == [True, True]
    assert [placement.late_h for placement in found.placements] == [0, pytest.approx(8)]


def test_of_several_those_due_first_are_promised_first() -> None:
    found = admitted(work(300, 11.5), work(300, 10), work(300, 11), work(300, 24))
    assert list(found.promised) == [False, True, False, True]


def test_one_that_is_too_big_keeps_no_one_else_from_a_promise() -> None:
    found = admitted(work(100, 10, promised=True), work(2000, 6), work(100, 20))
    assert list(found.promised) == [True, False, True]


def test_one_that_is_harmful_keeps_no_one_else_from_a_promise() -> None:
    # The second would be in time itself.
    found = admitted(work(450, 10, promised=True), work(150, 7), work(50, 20), work(20, 9))
    assert list(found.promised) == [True, False, True, True]


def test_many_that_are_refused_keep_no_one_else_from_a_promise() -> None:
    refused = [work(200, 5 + number / 100) for number in range(4 * MOST_TRIALS)]
    found = admitted(work(500, 10, promised=True), *refused, work(50, 20))
    assert list(found.promised) == [True, *[False] * len(refused), True]


@pytest.mark.parametrize("zones", [("DE",), ("DE", "FR")])
def test_many_that_are_refused_in_one_zone_keep_no_one_else_from_a_promise(zones: Sequence[str]) -> None:
    refused = [work(200, 5 + number / 100) for number in range(4 * MOST_TRIALS)]
    works = [work(500, 10, promised=True), *refused, work(50, 20, zones=zones), work(50, 20, zones=["FR"])]
    found = admit(works, range(1, len(works)), {"DE": 1.0, "FR": 1.0}, STARTS)
    assert list(found.promised) == [True, *[False] * len(refused), True, True]


def test_a_few_that_seem_possible_and_are_not_leave_trials_for_the_others() -> None:
    """A shard that runs in one zone cannot be divided over two, which is only found out by trying."""
    whole = [work(requests, due, zones=["DE", "FR"], shards=1) for requests, due in WHOLE]
    others = [work(10, 20 + number / 100, zones=["DE", "FR"]) for number in range(40)]
    found = admit([*whole, *others], range(len(whole) + len(others)), {"DE": 1.0, "FR": 1.0}, STARTS)
    assert not any(found.promised[: len(whole)])
    assert sum(found.promised) > 30


WHOLE = ((60, 1.0), (140, 2.5), (290, 5.5))
"""Requests, fifty of which a zone does in an hour at half the capacity, and when they are due."""


# Fewer machines than when the promise was given.


def test_who_is_late_anyway_keeps_no_harmless_newcomer_from_a_promise() -> None:
    found = admitted(work(300, 10, promised=True), work(20, 14), devices=0.5)
    assert found.placements[0].late_h == pytest.approx(2)
    assert list(found.promised) == [True, True]


def test_who_is_late_anyway_is_not_made_later() -> None:
    found = admitted(work(510, 10, promised=True), work(300, 7))
    assert found.placements[0].late_h == pytest.approx(0.2)
    assert list(found.promised) == [True, False]


def test_who_is_late_anyway_is_kept_all_the_same() -> None:
    works = [work(900, 10, promised=True), work(20, 8)]
    found = admit(works, [1], {"DE": 0.5}, STARTS)
    assert list(found.promised) == [True, False]


def test_what_cannot_be_planned_is_refused() -> None:
    with pytest.raises(InvalidInput):
        admit([work(100, 10, zones=["FR"])], [0], {"DE": 1.0}, STARTS)


# Whatever comes.


@st.composite
def streams(draw: st.DrawFn, names: Sequence[str]) -> Sequence[Work]:
    return [
        work(
            draw(st.integers(1, 400)),
            draw(st.one_of(st.integers(0, 30), st.floats(0, 30))),
            zones=draw(st.lists(st.sampled_from(names), min_size=1, max_size=len(names), unique=True)),
            schedule=draw(st.sampled_from([ASAP, CARBON])),
            shards=draw(st.integers(1, 12)),
        )
        for _ in range(draw(st.integers(1, 8)))
    ]


@settings(max_examples=150)
@given(st.data(), st.sampled_from([("DE",), ("DE", "FR")]), st.integers(1, 3))
def test_no_newcomer_ever_endangers_a_promise(data: st.DataObject, names: Sequence[str], at_once: int) -> None:
    """They come so many at once; all wait, and who was refused asks again."""
    capacity = {name: data.draw(st.sampled_from([0.5, 1.0, 3.0])) for name in names}
    arriving = data.draw(streams(names))
    works: list[Work] = []
    for first in range(0, len(arriving), at_once):
        works += arriving[first : first + at_once]
        before = [each.promised for each in works]
        found = admit(works, [index for index, each in enumerate(works) if not each.promised], capacity, STARTS)
        assert all(kept for kept, had in zip(found.promised, before, strict=True) if had)
        assert max(late_h(works, found, capacity)) <= ROUNDING_H
        works = [replace(each, promised=kept) for each, kept in zip(works, found.promised, strict=True)]


@settings(max_examples=150)
@given(streams(("DE",)))
def test_in_one_zone_nobody_is_refused_without_need(arriving: Sequence[Work]) -> None:
    """One at a time: who is refused would be late, or make a promise late, at half the capacity."""
    works: list[Work] = []
    for each in arriving:
        works.append(each)
        found = admit(works, [len(works) - 1], {"DE": 1.0}, STARTS)
        if not found.promised[-1]:
            hoped = Admission(placements=found.placements, promised=[*found.promised[:-1], True])
            assert max(late_h(works, hoped, {"DE": 1.0})) > 0
        works = [replace(item, promised=kept) for item, kept in zip(works, found.promised, strict=True)]


@settings(max_examples=100)
@given(streams(("DE",)))
def test_several_at_once_in_one_zone_are_promised_as_one_after_another(arriving: Sequence[Work]) -> None:
    one_by_one: list[Work] = []
    for each in sorted(arriving, key=lambda each: each.due_h):
        one_by_one.append(each)
        found = admit(one_by_one, [len(one_by_one) - 1], {"DE": 1.0}, STARTS)
        one_by_one = [replace(item, promised=kept) for item, kept in zip(one_by_one, found.promised, strict=True)]
    together = admit(sorted(arriving, key=lambda each: each.due_h), range(len(arriving)), {"DE": 1.0}, STARTS)
    assert list(together.promised) == [each.promised for each in one_by_one]


def anew(rng: np.random.Generator, item: Work) -> Work:
    """With another forecast."""
    demand = {
        zone: Demand(device_s=known.device_s, cost_g=rng.uniform(0, 5, HOURS)) for zone, known in item.demand.items()
    }
    return replace(item, demand=demand)


@pytest.mark.parametrize("seed", [81, 136, 251, 290, 5180])
def test_in_two_zones_a_forecast_that_changes_breaks_no_promise(seed: int) -> None:
    """Small shards: where they go changes with the forecast, and all deadlines stay within reach."""
    rng = np.random.default_rng(seed)
    capacity = {"DE": float(rng.choice([1, 2])), "FR": float(rng.choice([1, 2]))}
    works: list[Work] = []
    for _ in range(8):
        zones = [["DE"], ["FR"], ["DE", "FR"], ["FR", "DE"]][rng.integers(4)]
        number = int(rng.integers(20, 300)) // 5
        due_h, schedule = float(rng.uniform(1, 24)), [ASAP, CARBON][rng.integers(2)]
        newcomer = work(number * 5, due_h, zones=zones, schedule=schedule, shards=number)
        works.append(anew(rng, newcomer))
        found = admit(works, [index for index, each in enumerate(works) if not each.promised], capacity, STARTS)
        works = [replace(each, promised=kept) for each, kept in zip(works, found.promised, strict=True)]
    for _ in range(5):
        again = admit([anew(rng, each) for each in works], [], capacity, STARTS)
        assert max(late_h(works, again, capacity)) <= ROUNDING_H
