from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.errors import InvalidInput
from app.domain.trigger import PAPER_BETA_PER_H, Opening, PublishedTrigger, Trigger, gate_is_open

NAN, INF = float("nan"), float("inf")
PAST = [float(grams) for grams in range(100, 201)]
"""Its lowest tenth ends at 110."""


def opening(idle_h: int, intensity: float = 150.0, trigger: Trigger | None = None, **seen: Any) -> Opening:
    return (trigger or Trigger()).opening(idle_h=idle_h, intensity=intensity, **{"past": PAST, **seen})


def test_a_round_waits_for_the_grace_period_however_clean_it_is() -> None:
    assert [opening(idle, intensity=0.0) for idle in range(8)] == [Opening.NO] * 6 + [Opening.CLEAN] * 2
    assert opening(3, intensity=0.0, trigger=Trigger(grace_h=3)) is Opening.CLEAN


def test_a_round_is_forced_after_the_longest_idle_time_however_dirty_it_is() -> None:
    assert opening(71, intensity=9000.0) is Opening.NO
    assert opening(72, intensity=9000.0) is Opening.FORCED
    assert opening(10, intensity=9000.0, trigger=Trigger(longest_idle_h=10)) is Opening.FORCED


@pytest.mark.parametrize(
    ("wants", "opens"),
    [(["urgent"], Opening.URGENT), (["bare"], Opening.BARE), (["urgent", "bare"], Opening.BARE)],
)
def test_an_urgent_round_opens_whatever_the_hour_but_that_of_the_last_one(wants: list[str], opens: Opening) -> None:
    asked: dict[str, Any] = dict.fromkeys(wants, True)
    assert opening(0, intensity=9000.0, **asked) is Opening.NO
    assert {opening(idle, intensity=9000.0, **asked) for idle in (1, 5, 6, 71)} == {opens}


def test_an_urgent_round_is_forced_as_any_other_is() -> None:
    assert {opening(idle, intensity=9000.0, urgent=True, bare=True) for idle in (72, 500)} == {Opening.FORCED}


def test_only_what_is_bare_or_overdue_passes_the_gate() -> None:
    assert [found for found in Opening if found.forced] == [Opening.BARE, Opening.FORCED]


def test_within_a_day_an_intensity_comes_to_count_half() -> None:
    assert math.exp(-PAPER_BETA_PER_H * 24) == pytest.approx(0.5, abs=0.002)
    half = 110 / math.exp(-0.029 * 24)
    assert half == pytest.approx(220, abs=1)
    assert opening(24, intensity=half - 0.01) is Opening.CLEAN
    assert opening(24, intensity=half + 0.01) is Opening.NO


def test_without_a_forecast_a_low_quantile_of_the_past_is_waited_for() -> None:
    undiscounted = Trigger(beta_per_h=0.0)
    for unknown in (None, []):
        assert opening(6, intensity=110.0, trigger=undiscounted, forecast=unknown) is Opening.CLEAN
        assert opening(6, intensity=110.1, trigger=undiscounted, forecast=unknown) is Opening.NO


def test_with_a_forecast_the_least_of_it_is_waited_for_and_the_past_does_not_matter() -> None:
    undiscounted = Trigger(beta_per_h=0.0)
    forecast = [190.0, 140.0, 170.0]
    assert opening(6, intensity=140.0, trigger=undiscounted, forecast=forecast) is Opening.CLEAN
    assert opening(6, intensity=140.1, trigger=undiscounted, forecast=forecast) is Opening.NO
    assert opening(6, intensity=140.0, trigger=undiscounted, forecast=forecast, past=[]) is Opening.CLEAN


def test_of_a_forecast_only_the_hours_that_may_still_be_waited_count() -> None:
    trigger = Trigger(beta_per_h=0.0, longest_idle_h=10)
    forecast = [200.0, 200.0, 50.0]
    assert opening(7, intensity=150.0, trigger=trigger, forecast=forecast) is Opening.NO
    assert opening(8, intensity=150.0, trigger=trigger, forecast=forecast) is Opening.CLEAN
    assert opening(8, intensity=150.0, trigger=trigger, forecast=[200.0, 200.0, NAN]) is Opening.CLEAN


@settings(max_examples=60)
@given(st.lists(st.floats(1, 1000), min_size=1, max_size=50), st.floats(0, 1000), st.integers(6, 70))
def test_a_round_that_would_open_opens_all_the_more_later_or_when_it_is_cleaner(
    past: list[float], intensity: float, idle_h: int
) -> None:
    if opening(idle_h, intensity, past=past) is Opening.CLEAN:
        assert opening(idle_h + 1, intensity, past=past) is Opening.CLEAN
        assert opening(idle_h, intensity * 0.9, past=past) is Opening.CLEAN


@pytest.mark.parametrize(
    "seen",
    [
        {"intensity": NAN},
        {"intensity": INF},
        {"past": [100.0, NAN]},
        {"past": [100.0, INF]},
        {"past": []},
        {"forecast": [100.0, NAN]},
        {"intensity": NAN, "forecast": [100.0]},
    ],
)
def test_figures_that_say_nothing(seen: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="finite intensities of the past or a forecast"):
        opening(6, **seen)


# The gate.


@pytest.mark.parametrize(("intensity", "is_open"), [(99.0, True), (150.0, True), (150.1, False), (NAN, False)])
def test_the_gate_is_open_up_to_the_mean_of_the_past(intensity: float, is_open: bool) -> None:
    assert gate_is_open(intensity=intensity, past=[100, 200], forced=False) is is_open


@pytest.mark.parametrize("past", [[], [100.0], [NAN]])
def test_the_gate_of_a_forced_round_is_open(past: list[float]) -> None:
    assert gate_is_open(intensity=900.0, past=past, forced=True)
    assert not gate_is_open(intensity=900.0, past=past, forced=False)


@given(st.integers(1, 90_000), st.integers(1, 720))
def test_the_gate_is_open_where_the_intensity_never_changes(hundredths: int, hours: int) -> None:
    assert gate_is_open(intensity=hundredths / 100, past=[hundredths / 100] * hours, forced=False)


# The authors' published code.


def published(
    intensities: Sequence[float], mean: float = 100.0, grace_h: int = 2, longest_idle_h: int = 8, beta: float = 0.0
) -> list[int]:
    trigger = PublishedTrigger(mean=mean, grace_h=grace_h, longest_idle_h=longest_idle_h, beta_per_h=beta)
    return trigger.rounds(intensities)


def test_as_published_a_round_opens_in_the_hour_after_the_bottom_of_a_valley() -> None:
    assert published([120, 90, 80, 60, 70, 90, 120]) == [4]


def test_as_published_a_valley_within_the_grace_period_or_above_the_mean_is_passed_over() -> None:
    assert published([90, 60, 90, 70, 90, 120]) == [4]
    assert published([120, 110, 108, 106, 109, 112]) == []


def test_as_published_a_turn_that_was_too_dirty_is_not_made_up_for() -> None:
    assert published([120, 110, 95, 90, 105, 99, 130]) == []
    assert published([120, 110, 95, 90, 99, 99, 130]) == [4]


def test_as_published_a_round_is_forced_in_the_end() -> None:
    assert published([float(hour) for hour in range(200, 220)]) == [8, 16]


def test_as_published_the_grace_period_starts_anew_with_every_round() -> None:
    valleys = [90, 80, 70, 80, 70, 80, 70, 80, 70, 80]
    assert published(valleys) == [3, 7]


def test_as_published_a_growing_weight_turns_a_slow_fall_into_a_rise() -> None:
    falling = [90.0 - hour for hour in range(8)]
    assert published(falling) == []
    # Each hour is 1.1 % cleaner than the one before, and weighs 2.9 % more: it has turned from the first hour on.
    assert published(falling, beta=0.029) == []
    # A fall of 20 % outweighs the weight, the 1.4 % after it does not.
    assert published([100, 95, 90, 72, 71, 70], beta=0.029) == [4]


def test_as_published_an_intensity_that_never_changes_counts_as_turned() -> None:
    assert published([90.0] * 10) == [3, 6, 9]


def test_as_published_the_grace_period_itself_is_still_too_early() -> None:
    assert published([90, 60, 70], grace_h=1) == [2]
    assert published([90, 60, 70], grace_h=2) == []


def test_as_published_nothing_happens_in_no_time() -> None:
    assert published([]) == published([100]) == []
