from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.arrays import Floats
from app.domain.errors import IntensityUnavailable
from app.domain.forecast import FADING_PER_H, forecast, mape, seasonal_naive

NAN = float("nan")
DAY = 200 + 100 * np.sin(np.arange(24) * 2 * np.pi / 24)
"""A daily pattern between 100 and 300."""


def wandering(days: int, seed: int = 0) -> Floats:
    """The daily pattern with a deviation of its own that lasts for hours."""
    shocks, deviation = np.random.default_rng(seed).normal(0, 10, 24 * days), np.zeros(24 * days)
    for hour in range(1, len(shocks)):
        deviation[hour] = 0.95 * deviation[hour - 1] + shocks[hour]
    return np.asarray(np.maximum(np.tile(DAY, days) + deviation, 1.0))


def with_gaps(past: Floats, *gaps: slice) -> Floats:
    found = past.copy()
    for gap in gaps:
        found[gap] = NAN
    return found


def test_naive_repeats_the_last_day() -> None:
    past = np.arange(60.0)
    assert seasonal_naive(past, 50).tolist() == [*range(36, 60), *range(36, 60), 36, 37]


def test_naive_takes_an_older_day_for_a_gap_and_the_latest_hour_where_there_is_none() -> None:
    past = with_gaps(np.arange(72.0), slice(50, 52))
    assert seasonal_naive(past, 24)[:5].tolist() == [48, 49, 26, 27, 52]
    assert seasonal_naive(np.array([7.0, 8.0, NAN]), 24).tolist() == [8.0] * 21 + [7.0, 8.0, 8.0]


@pytest.mark.parametrize("days", [1, 2, 5, 6, 30, 90])
@pytest.mark.parametrize("hours", [1, 23, 24, 25, 168])
def test_a_day_that_repeats_itself_is_forecast_exactly(days: int, hours: int) -> None:
    assert forecast(np.tile(DAY, days), hours) == pytest.approx(np.resize(DAY, hours), rel=0.02)


def test_the_first_forecast_hour_is_the_one_after_the_present() -> None:
    past = np.tile(DAY, 20)[:-7]
    assert forecast(past, 7) == pytest.approx(DAY[-7:], rel=0.02)


def test_a_deviation_fades_while_the_past_is_short() -> None:
    past = np.append(np.full(71, 100.0), 200.0)
    ahead = forecast(past, 48)
    assert (np.diff(ahead[:23]) < 0).all()
    deviation = ahead - 100
    assert deviation[1] / deviation[0] == pytest.approx(FADING_PER_H)
    assert ahead[47] > 100


def test_what_is_known_only_from_a_few_hours_is_the_forecast() -> None:
    assert forecast(np.array([50.0]), 30).tolist() == [50.0] * 30
    assert forecast(np.array([NAN, 40.0, NAN]), 3) == pytest.approx([40.0] * 3)
    few = forecast(np.array([10.0, 20.0, 30.0]), 48)
    assert ((few >= 10) & (few <= 30)).all()


def test_errors_are_below_those_of_the_naive_forecast() -> None:
    series = wandering(80)
    issued = range(30 * 24, 75 * 24, 5)
    actual = np.array([series[now + 1 : now + 25] for now in issued])
    own, naive = (
        mape(np.array([way(series[: now + 1], 24) for now in issued]), actual) for way in (forecast, seasonal_naive)
    )
    assert (own[:12] < naive[:12]).all()
    assert own.mean() < 0.9 * naive.mean()
    assert own[0] < naive[0] / 2


def test_a_regression_learns_what_the_daily_pattern_cannot_tell() -> None:
    series = 200 + 100 * np.sin(np.arange(60 * 24) * 2 * np.pi / 17)
    pattern = np.abs(np.resize(series[-24:], 24) - 200).mean()
    now = 50 * 24
    assert np.abs(forecast(series[:now], 24) - series[now : now + 24]).mean() < 0.6 * pattern


def test_gaps_are_tolerated_and_change_little() -> None:
    past = wandering(30)
    whole = forecast(past, 168)
    gappy = forecast(with_gaps(past, slice(100, 110), slice(300, 301), slice(400, 472)), 168)
    assert gappy == pytest.approx(whole, rel=0.2)
    assert np.isfinite(forecast(with_gaps(past, slice(-30, None)), 48)).all()
    assert np.isfinite(forecast(with_gaps(past, slice(0, -2)), 48)).all()


def test_what_is_older_than_two_months_does_not_matter() -> None:
    past = wandering(70)
    older = past.copy()
    older[: 10 * 24] = 5000
    assert forecast(older, 48).tolist() == forecast(past, 48).tolist()


@pytest.mark.parametrize("past", [np.empty(0), np.array([NAN]), np.full(2000, NAN)])
def test_without_any_measured_hour_nothing_is_forecast(past: Floats) -> None:
    for way in (forecast, seasonal_naive):
        with pytest.raises(IntensityUnavailable, match="no carbon intensity"):
            way(past, 24)


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.none() | st.floats(0, 9999), min_size=1, max_size=220).filter(any),
    hours=st.integers(1, 168),
)
def test_a_forecast_stays_within_what_was_measured(values: list[float | None], hours: int) -> None:
    past = np.array([NAN if value is None else value for value in values])
    kept = past.copy()
    for way in (forecast, seasonal_naive):
        ahead = way(past, hours)
        assert ahead.shape == (hours,)
        assert ((ahead >= np.nanmin(past)) & (ahead <= np.nanmax(past))).all()
        assert ahead.tolist() == way(past, hours).tolist()
    assert np.array_equal(past, kept, equal_nan=True)


@pytest.mark.parametrize("grams", [0.0, 0.1, 500.0])
def test_a_flat_past_goes_on(grams: float) -> None:
    assert forecast(np.full(1440, grams), 168) == pytest.approx(np.full(168, grams))


def test_a_forecast_is_fast_enough_for_many_zones() -> None:
    past = wandering(90)
    forecast(past, 168)
    start = time.process_time()
    for _ in range(10):
        forecast(past, 168)
    assert (time.process_time() - start) / 10 < 0.5


def test_mape_is_by_lead_hour_and_leaves_out_what_has_no_percentage() -> None:
    forecasts = np.array([[110.0, 50.0, 5.0], [90.0, 20.0, 5.0], [130.0, 7.0, 5.0]])
    actual = np.array([[100.0, 100.0, 0.0], [100.0, 0.0, NAN], [100.0, NAN, 0.0]])
    assert mape(forecasts, actual)[:2] == pytest.approx([0.5 / 3, 0.5])
    assert np.isnan(mape(forecasts, actual)[2])
