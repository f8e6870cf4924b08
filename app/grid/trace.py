"""A recorded series from a CSV file: `datetime_utc,zone,intensity_g_per_kwh`."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from app.domain.errors import ConfigurationError, IntensityUnavailable, InvalidInput
from app.domain.intensity import HOUR, Basis, Forecast, IntensityPoint, IntensityTrace
from app.domain.units import hour_of

COLUMNS = ["datetime_utc", "zone", "intensity_g_per_kwh"]


def read_trace(path: Path, *, zone: str, basis: Basis) -> IntensityTrace:
    """The rows of one zone.

    Raises:
        ConfigurationError: the file cannot be read, or a row cannot; it names the line.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            if rows.fieldnames != COLUMNS:
                raise ConfigurationError(f"{path}: the first line must be {','.join(COLUMNS)}.")
            points = [_point(path, number, row, basis) for number, row in enumerate(rows, 2)]
            own = [point for point in points if point.zone == zone]
            if points and not own:
                zones = ", ".join(sorted({point.zone for point in points}))
                raise ConfigurationError(f"{path} has no row of zone {zone}, only of {zones}: set SPROUT_ZONE.")
            return IntensityTrace(own)
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f"The intensity trace {path} cannot be read: {exc}.") from exc
    except InvalidInput as exc:
        raise ConfigurationError(f"The intensity trace {path}, zone {zone}: {exc.message}") from exc


def _point(path: Path, number: int, row: dict[str, str], basis: Basis) -> IntensityPoint:
    try:
        return IntensityPoint(
            zone=row["zone"],
            start=datetime.fromisoformat(row["datetime_utc"]),
            intensity_g_per_kwh=float(row["intensity_g_per_kwh"]),
            basis=basis,
            provider="trace",
        )
    except (ValueError, TypeError, InvalidInput) as exc:
        raise ConfigurationError(f"{path}, line {number}: {exc}; a row reads 2026-03-02T00:00:00Z,ZONE,245.5.") from exc


class TraceProvider:
    """The hours of a recorded series; rows finer than an hour are averaged over their hour.

    With `repeats`, the whole days of the trace follow each other for ever, hour of day by hour of day: for
    demonstrations, and its points say so.
    """

    def __init__(self, trace: IntensityTrace, *, repeats: bool = False) -> None:
        self._hours = {point.start: point for point in _hourly(trace)}
        self._repeats = repeats
        self._first = min(self._hours)
        days = (max(self._hours) + HOUR - self._first) // timedelta(days=1)
        if repeats and days < 1:
            raise ConfigurationError("A trace that repeats needs at least one whole day.")
        self._span = timedelta(days=days)

    @property
    def basis(self) -> Basis:
        return self._hours[self._first].basis

    @property
    def name(self) -> str:
        return "trace, repeated" if self._repeats else "trace"

    def fetch(self, zone: str, start: datetime, end: datetime) -> Sequence[IntensityPoint]:
        known = next(iter(self._hours.values())).zone
        if zone != known:
            raise IntensityUnavailable(f"The trace is of zone {known}, not {zone}: set SPROUT_ZONE={known}.")
        found = []
        hour = hour_of(start) if hour_of(start) == start else hour_of(start) + HOUR
        while hour < end:
            source = self._first + (hour - self._first) % self._span if self._repeats else hour
            if source in self._hours:
                found.append(replace(self._hours[source], start=hour, provider=self.name))
            hour += HOUR
        return found

    def forecast(self, zone: str, now: datetime) -> Forecast | None:
        """None: a recorded series knows what came, and looking there would be no forecast."""
        return None


def _hourly(trace: IntensityTrace) -> Sequence[IntensityPoint]:
    by_hour: dict[datetime, list[IntensityPoint]] = {}
    for point in trace.points:
        by_hour.setdefault(hour_of(point.start), []).append(point)
    return [
        replace(
            points[0],
            start=hour,
            intensity_g_per_kwh=sum(point.intensity_g_per_kwh for point in points) / len(points),
        )
        for hour, points in by_hour.items()
    ]
