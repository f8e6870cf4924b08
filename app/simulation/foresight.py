"""The forecasts that a replay of deferral goes by: at an hour of a recorded series, of the hours after it."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np

from app.domain.arrays import Floats
from app.domain.errors import InvalidInput
from app.domain.forecast import forecast, seasonal_naive

DAY_H, BLOCK_H = 24, 96
COLUMNS = ("actual_carbon_intensity_lifecycle", "forecasted_carbon_intensity_lifecycle")

Foresight = Callable[[int, int], Floats]
"""From an hour of the series, whose own intensity is known, so many hours on."""


class Forecasts(StrEnum):
    BUILT_IN = "built-in"
    """As in service, from the past alone."""
    SEASONAL_NAIVE = "seasonal-naive"
    """Tomorrow is as today."""
    PERFECT = "perfect"
    """What was measured later. The planner goes by it like by the others: what arrives later is unknown to it too."""
    RECORDED = "recorded"
    """What someone else had forecast."""


@dataclass(frozen=True, kw_only=True)
class RecordedForecasts:
    """A zone's intensity, and the forecasts that were issued at the start of each of its days."""

    name: str
    actual: Floats
    """From the first hour of the first day on, as far as the last block reaches."""
    blocks: Floats
    """Days x 96."""

    def newest(self, now: int, hours: int) -> Floats:
        """The newest block, and its last hour beyond its end."""
        day = min(now // DAY_H, len(self.blocks) - 1)
        return padded(self.blocks[day], now + 1 - DAY_H * day, hours)


def read_forecasts(path: Path) -> RecordedForecasts:
    """Read a CSV with COLUMNS: hourly rows in blocks of 96, each block beginning a day after the one before it.

    What was measured in the hours that two blocks share must agree. Their times are not looked at: in the files of
    CarbonCast one block of 181 bears the date of the block before it, and the values of the day after.

    Raises:
        InvalidInput: it cannot be read.
    """
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            rows = [[row[name] for name in COLUMNS] for row in csv.DictReader(file)]
        found = np.array(rows, dtype=float).reshape(-1, BLOCK_H, len(COLUMNS))
    except (ValueError, KeyError, OSError, EOFError) as exc:
        raise InvalidInput(f"{path} does not have hourly forecasts in blocks of {BLOCK_H}: {exc}.") from exc
    if not len(found) or not np.isfinite(found).all() or (found[1:, :-DAY_H, 0] != found[:-1, DAY_H:, 0]).any():
        raise InvalidInput(f"{path} does not have a block of finite forecasts for each of its days.")
    return RecordedForecasts(
        name=path.name.partition("_carbon")[0].partition(".")[0],
        actual=np.concatenate([found[:, :DAY_H, 0].ravel(), found[-1, DAY_H:, 0]]),
        blocks=found[:, :, 1],
    )


def foresight(kind: Forecasts, series: Floats, recorded: RecordedForecasts | None = None) -> Foresight:
    """Raises InvalidInput where there is nothing recorded."""
    if kind is Forecasts.BUILT_IN:
        return lambda now, hours: forecast(series[: now + 1], hours)
    if kind is Forecasts.SEASONAL_NAIVE:
        return lambda now, hours: seasonal_naive(series[: now + 1], hours)
    if kind is Forecasts.PERFECT:
        return lambda now, hours: padded(series, now + 1, hours)
    if recorded is None:
        raise InvalidInput("Nothing recorded was given to go by: name a file of forecasts.")
    return recorded.newest


def padded(series: Floats, start: int, hours: int) -> Floats:
    """Some hours of a series, beyond whose end its last hour goes on."""
    return np.asarray(series[np.minimum(np.arange(start, start + hours), len(series) - 1)])
