"""A zone's carbon intensity in its coming hours, from its own past alone.

The forecast is the mean of two that err differently. The *daily pattern* is each hour of the day's mean over the past
days, on top of which the present hour's deviation fades away. The *regression* foretells each of the next 24 hours
from the last 24 by its own ridge regression (a direct autoregression: no hour builds on the forecast of another); it
follows wind and weather where the pattern follows the sun and demand. In both, a day weighs less the older it is.
Beyond 24 hours the regression knows no more than the pattern, which then stands alone, as it does in the first days of
an installation.

A past is hour by hour, in gCO2eq/kWh, oldest first, ends with the present hour, and has NaN where an hour is missing. A
forecast starts with the next hour.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from app.domain.arrays import Bools, Floats
from app.domain.errors import IntensityUnavailable

DAY_H = 24

LONGEST_PAST_H = 60 * DAY_H
"""What is older is not looked at."""

MEMORY_DAYS = 14.0
"""A day this much older weighs 1/e as much."""

FADING_PER_H = 0.9
"""What is left of a deviation from the daily pattern after one more hour."""

RIDGE = 0.03
"""Shrinkage of the regression, as a share of the mean variance of its inputs."""

LEAST_WINDOWS = 4 * DAY_H
"""The regression has 25 coefficients an hour; learnt from fewer windows it is worse than none. Reached in 6 days."""

TINY = 1e-9
"""Added to the variances, so that a past without any can be solved."""


def seasonal_naive(past: Floats, hours: int) -> Floats:
    """The latest measured value of the same hour of the day, or of any hour where there is none: the floor.

    Raises:
        IntensityUnavailable: nothing was measured.
    """
    days = _by_day(_recent(past))
    latest = days[-1]
    for day in days[-2::-1]:
        latest = np.where(np.isnan(latest), day, latest)
    measured = past[~np.isnan(past)]
    return np.resize(np.where(np.isnan(latest), measured[-1], latest), hours)


def forecast(past: Floats, hours: int) -> Floats:
    """The built-in forecast, within the range of the past; any past with one measured hour will do.

    Raises:
        IntensityUnavailable: nothing was measured.
    """
    recent = _recent(past)
    pattern = _daily_pattern(_by_day(recent))
    filled = _filled(recent, pattern)
    found = np.resize(pattern, hours)
    found += (filled[-1] - pattern[-1]) * FADING_PER_H ** np.arange(1, hours + 1)
    ahead = _regression(filled, ~np.isnan(recent))[:hours]
    found[: len(ahead)] = (found[: len(ahead)] + ahead) / 2
    return np.clip(found, np.nanmin(recent), np.nanmax(recent))


def mape(forecasts: Floats, actual: Floats) -> Floats:
    """Mean absolute percentage error by lead hour (H), as a share; both figures are N x H, one row per forecast.

    Hours whose actual intensity is missing or 0, for which it is not defined, are left out; NaN where none is left.
    """
    counted = np.isfinite(actual) & (actual > 0)
    errors = np.abs(forecasts - actual) / np.where(counted, actual, 1.0)
    numbers = counted.sum(axis=0)
    return np.where(numbers > 0, np.where(counted, errors, 0.0).sum(axis=0) / np.maximum(numbers, 1), np.nan)


def _recent(past: Floats) -> Floats:
    recent = past[-LONGEST_PAST_H:]
    if np.isnan(recent).all():
        raise IntensityUnavailable("Nothing can be forecast: the past 60 days have no carbon intensity.")
    return recent


def _by_day(recent: Floats) -> Floats:
    """Days x 24; the last day ends with the present hour, so that its first column is the hour of the next one."""
    head = np.full(-len(recent) % DAY_H, np.nan)
    return np.asarray(np.concatenate([head, recent]).reshape(-1, DAY_H))


def _daily_pattern(days: Floats) -> Floats:
    """Weighted mean by hour of the day (24), in the order of the columns; the overall one for hours never measured."""
    weights = np.exp(-np.arange(len(days))[::-1, np.newaxis] / MEMORY_DAYS) * ~np.isnan(days)
    sums, totals = (weights * np.nan_to_num(days)).sum(axis=0), weights.sum(axis=0)
    return np.where(totals > 0, sums / np.maximum(totals, TINY), sums.sum() / totals.sum())


def _filled(recent: Floats, pattern: Floats) -> Floats:
    """Gaps get the daily pattern and, between the deviations at their edges, the straight line."""
    expected = np.resize(pattern[::-1], len(recent))[::-1]
    hours, measured = np.arange(len(recent)), np.flatnonzero(~np.isnan(recent))
    return np.asarray(expected + np.interp(hours, measured, (recent - expected)[measured]))


def _regression(filled: Floats, measured: Bools) -> Floats:
    """The next 24 hours; empty while the past is too short, or too full of gaps, to learn from."""
    if len(filled) < 2 * DAY_H:
        return np.empty(0)
    windows = sliding_window_view(filled, 2 * DAY_H)
    age_days = np.arange(len(windows))[::-1] / DAY_H
    complete = sliding_window_view(measured, 2 * DAY_H).mean(axis=1)
    if complete.sum() < LEAST_WINDOWS:
        return np.empty(0)
    weights = complete * np.exp(-age_days / MEMORY_DAYS)
    weights /= weights.sum()
    inputs, changes = windows[:, :DAY_H], windows[:, DAY_H:] - windows[:, DAY_H - 1, np.newaxis]
    mean_input, mean_change = weights @ inputs, weights @ changes
    centred = inputs - mean_input
    covariance = (centred.T * weights) @ centred
    covariance += (RIDGE * np.trace(covariance) / DAY_H + TINY) * np.eye(DAY_H)
    coefficients = np.linalg.solve(covariance, (centred.T * weights) @ (changes - mean_change))
    return np.asarray(filled[-1] + mean_change + (filled[-DAY_H:] - mean_input) @ coefficients)
