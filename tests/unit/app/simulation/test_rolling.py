from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.arrays import Floats
from app.domain.batch import Schedule
from app.domain.work import Demand
from app.simulation.rolling import Batch, Rolling, _Queue

DEVICE_S = 36.0
"""100 requests take one device an hour."""
CAPACITY = 2.0
HOURS = 48
AFTER = 30

Expected = Callable[[int, int], Floats]
"""Costs from an hour on, that one among them."""


def true(now: int, hours: int) -> Floats:
    return np.asarray(200 + 100 * np.cos(np.arange(now, now + hours) * np.pi / 12))


def noise(now: int, hours: int) -> Floats:
    return np.asarray(np.random.default_rng(now).uniform(100, 300, hours))


def constant(now: int, hours: int) -> Floats:
    return np.full(hours, 200.0)


def inverted(now: int, hours: int) -> Floats:
    return 400 - true(now, hours)


def ever_cleaner(now: int, hours: int) -> Floats:
    return np.linspace(2.0, 1.0, hours)


FORECASTS = {each.__name__: each for each in (true, noise, constant, inverted, ever_cleaner)}
every_forecast = pytest.mark.parametrize("expected", FORECASTS.values(), ids=FORECASTS)


@dataclass(frozen=True, kw_only=True)
class Known:
    expected: Expected
    device_s: float = DEVICE_S

    def demands(self, now: int, batches: Sequence[int], hours: int) -> Sequence[Demand]:
        return [Demand(device_s=np.full(hours, self.device_s), cost_g=self.expected(now, hours))] * len(batches)


def batch(at_h: int, *requests: int, window_h: float = 24.0, schedule: Schedule = Schedule.CARBON) -> Batch:
    return Batch(at_h=at_h, requests=np.array(requests, np.int64), window_h=window_h, schedule=schedule)


def rolling(*batches: Batch, expected: Expected = true, hours: int = HOURS + AFTER) -> Rolling:
    used_s = np.full((len(batches), hours), DEVICE_S)
    return Rolling(batches=batches, used_s=used_s, outlook=Known(expected=expected))


def run(*batches: Batch, expected: Expected = true, measured: float = 1.0, devices: float = 1.0) -> Rolling:
    found = rolling(*batches, expected=expected)
    found.run(range(HOURS + AFTER), measured, devices)
    return found


def ran(state: Rolling) -> list[dict[int, float]]:
    """By batch, the requests that ran in each hour."""
    return [
        {int(hour): pytest.approx(requests[hour]) for hour in np.flatnonzero(requests > 1e-6)} for requests in state.ran
    ]


# An hour.


def test_work_moves_to_the_cleanest_hours() -> None:
    found = run(batch(0, 50, 50, 50))
    assert ran(found) == [{12: 100, 11: 50}]
    assert found.promised.tolist() == [True]
    assert not found.missed.any()


def test_work_that_wants_to_runs_at_once() -> None:
    assert ran(run(batch(3, 50, 50, 50, schedule=Schedule.ASAP))) == [{3: 100, 4: 50}]


def test_nothing_runs_before_it_arrives() -> None:
    assert ran(run(batch(14, 50), expected=constant)) == [{14: 50}]


def test_what_finds_no_room_waits_and_is_planned_anew() -> None:
    # Half of what was measured works: the cleanest hour ends one of two shards.
    found = run(batch(0, 50, 50), devices=0.5)
    assert ran(found) == [{12: 50, 13: 50}]


def test_a_shard_that_has_begun_runs_on_in_the_next_hour() -> None:
    found = run(batch(0, 80, 80, schedule=Schedule.ASAP))
    assert ran(found) == [{0: 100, 1: 60}]
    assert found.ended_h.tolist() == pytest.approx([1.6])


def test_a_shard_longer_than_several_hours() -> None:
    assert ran(run(batch(0, 250, schedule=Schedule.ASAP))) == [{0: 100, 1: 100, 2: 50}]


def test_what_a_request_really_takes_follows_the_hour() -> None:
    found = rolling(batch(0, 150, schedule=Schedule.ASAP))
    found.used_s[:, 1:] = DEVICE_S / 2
    found.run(range(3), 1.0, 1.0)
    assert ran(found) == [{0: 100, 1: 50}]
    assert found.ended_h.tolist() == pytest.approx([1.25])


def test_batches_take_turns() -> None:
    asap = Schedule.ASAP
    found = rolling(batch(0, 40, 40, schedule=asap), batch(0, 40, 40, schedule=asap))
    found.run(range(1), 1.0, 1.0)
    assert ran(found) == [{0: 60}, {0: 40}]


def test_the_latest_start_goes_before_turns_from_an_hour_before_it_on() -> None:
    queue = _Queue({(0, 0): 1.9, (0, 1): 5.0, (1, 0): 1.5, (1, 1): 1.2})
    assert [queue.take(0.0), queue.take(0.3), queue.take(0.4), queue.take(0.5)] == [(0, 0), (1, 1), (1, 0), (0, 1)]
    assert queue.take(1.0) is None


def test_of_urgent_shards_the_earliest_latest_start_goes_first() -> None:
    queue = _Queue({(0, 0): -1.0, (1, 0): -2.0, (2, 0): 3.0})
    assert [queue.take(0.0), queue.take(0.0), queue.take(0.0)] == [(1, 0), (0, 0), (2, 0)]


def test_a_batch_expires_with_its_window() -> None:
    found = run(batch(0, *[50] * 10, window_h=3))
    assert ran(found) == [{0: 100, 1: 100, 2: 100}]
    assert found.told.all()
    assert not found.promised.any()
    assert found.missed.all()
    assert found.ended_h[0] == np.inf


def test_a_shard_that_has_begun_ends_though_its_batch_expires() -> None:
    found = run(batch(0, 150, window_h=1))
    assert ran(found) == [{0: 100, 1: 50}]
    assert found.ended_h[0] == pytest.approx(1.5)
    assert found.missed.all()


def test_what_waits_is_held() -> None:
    found = rolling(batch(0, 50, 50), batch(1, 30))
    found.run(range(2), 1.0, 1.0)
    assert found.held == 130
    found.run(range(2, 20), 1.0, 1.0)
    assert found.held == 0


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.integers(0, 20), st.lists(st.integers(1, 90), min_size=1, max_size=4), st.sampled_from([3, 24])),
        min_size=1,
        max_size=8,
    ),
    st.sampled_from([0.5, 1.0]),
)
def test_every_request_runs_once_within_what_the_machines_can_do(
    arriving: Sequence[tuple[int, list[int], int]], devices: float
) -> None:
    batches = [batch(at_h, *requests, window_h=window_h) for at_h, requests, window_h in sorted(arriving)]
    found = run(*batches, devices=devices, expected=noise)
    total = np.array([each.requests.sum() for each in batches])
    assert (found.ran.sum(axis=0) * DEVICE_S <= devices * 3600 + 0.1).all()
    assert (found.ran.sum(axis=1) <= total + 1e-6).all()
    for row, each in enumerate(batches):
        assert not found.ran[row, : each.at_h].any()
        if np.isfinite(found.ended_h[row]):
            assert found.ran[row].sum() == pytest.approx(total[row])
        else:
            assert found.missed[row]


# Deadlines.


def even(hours: int = HOURS) -> list[Batch]:
    return [batch(hour, *[20] * 5) for hour in range(hours)]


def bursts(seed: int, hours: int = HOURS) -> list[Batch]:
    """At most as much in an hour as half the capacity does."""
    numbers = np.random.default_rng(seed).geometric(0.4, hours).clip(max=5)
    return [batch(hour, *[20] * int(number)) for hour, number in enumerate(numbers)]


ARRIVALS = {
    "even": even(),
    "bursts": bursts(0),
    "once a day": [batch(day, *[40] * 55) for day in (0, 24)],
    "several windows": [
        batch(hour, *[10] * number, window_h=window_h)
        for hour in range(HOURS)
        for number, window_h in ((2, 4), (3, 12), (5, 24))
    ],
}
every_arrival = pytest.mark.parametrize("batches", ARRIVALS.values(), ids=ARRIVALS)


@every_arrival
@every_forecast
def test_no_deadline_is_missed_whatever_is_forecast(batches: Sequence[Batch], expected: Expected) -> None:
    found = run(*batches, expected=expected, measured=CAPACITY, devices=CAPACITY)
    assert not found.told.any()
    assert not found.missed.any()


@every_arrival
@pytest.mark.parametrize("measured", [CAPACITY, CAPACITY / 2], ids=["unnoticed", "known"])
@every_forecast
def test_no_promise_is_broken_though_half_the_machines_fail_at_the_worst_moment(
    batches: Sequence[Batch], expected: Expected, measured: float
) -> None:
    state = rolling(*batches, expected=expected)
    for now in range(HOURS):
        if now % 12 == 11 or now == 20:
            halved = copy.deepcopy(state)
            halved.run(range(now, HOURS + AFTER), measured, CAPACITY / 2)
            assert not (halved.missed & halved.promised).any(), now
            assert not (halved.missed & ~halved.told).any(), now
        state.hour(now, CAPACITY, CAPACITY)


def test_much_is_held_when_the_machines_fail() -> None:
    state = rolling(*even(), expected=ever_cleaner)
    state.run(range(30), CAPACITY, CAPACITY)
    assert state.held > 20 * 100


@every_forecast
def test_what_cannot_be_done_is_told_at_admission(expected: Expected) -> None:
    arriving = sorted([*even(36), batch(12, *[20] * 100, window_h=5)], key=lambda each: each.at_h)
    found = run(*arriving, expected=expected, measured=CAPACITY, devices=CAPACITY)
    (big,) = [row for row, each in enumerate(arriving) if each.window_h == 5]
    assert found.told[big]
    assert found.missed[big]
    others = np.delete(np.arange(len(arriving)), big)
    assert not found.missed[others].any()


@every_forecast
def test_with_machines_for_too_little_no_one_misses_a_deadline_untold(expected: Expected) -> None:
    found = run(*even(), expected=expected, measured=1.2, devices=0.6)
    assert found.missed.any()
    assert not (found.missed & found.promised).any()


def test_a_longer_window_looks_further_ahead() -> None:
    def in_two_days(now: int, hours: int) -> Floats:
        return np.where(np.arange(now, now + hours) == 40, 1.0, 2.0)

    assert ran(run(batch(0, 50, window_h=48), expected=in_two_days)) == [{40: 50}]
    assert ran(run(replace(batch(0, 50), window_h=12), expected=in_two_days)) == [{0: 50}]
