"""A recorded series from a CSV file: `datetime_utc,zone,intensity_g_per_kwh`."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from app.domain.errors import ConfigurationError, IntensityUnavailable, InvalidInput
from app.domain.intensity import HOUR, Basis, Forecast, IntensityPoint, IntensityTrace
from app.domain.units import require_utc
from app.grid.series import hourly, hours_in

COLUMNS = ["datetime_utc", "zone", "intensity_g_per_kwh"]


def read_trace(path: Path, *, zone: str, basis: Basis) -> IntensityTrace:
    """The rows of one zone.

    Raises:
        ConfigurationError: the file cannot be read, or a row cannot; it names the line.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            if rows.fieldnames != COLUMNS:
                raise ConfigurationError(f"{path}: the first line must be {','.join(COLUMNS)}.")
            points = [_point(path, number, row, basis) for number, row in enumerate(rows, 2)]
            own = [point for point in points if point.zone == zone]
            if points and not own:
                zones = ", ".join(sorted({point.zone for point in points}))
                raise ConfigurationError(
                    f"{path} has no row of zone {zone}, only of {zones}: set SPROUT_ZONE or SPROUT_ZONES."
                )
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
    """The hours of recorded series, one per zone; rows finer than an hour are averaged over their hour.

    With `repeats`, the whole days of each trace follow each other for ever, hour of day by hour of day: for
    demonstrations, and its points say so.
    """

    def __init__(self, *traces: IntensityTrace, repeats: bool = False) -> None:
        """Raises ConfigurationError when a trace is too short to repeat."""
        self._zones = {trace.points[0].zone: _Hours(trace, repeats=repeats) for trace in traces}
        self.basis = traces[0].points[0].basis
        self.name = "trace, repeated" if repeats else "trace"

    def fetch(self, zone: str, start: datetime, end: datetime) -> Sequence[IntensityPoint]:
        known = self._known(zone)
        found = ((hour, known.at(hour)) for hour in hours_in(start, end))
        return [replace(point, start=hour, provider=self.name) for hour, point in found if point]

    def forecast(self, zone: str, now: datetime) -> Forecast | None:
        """None: a recorded series knows what came, and looking there would be no forecast."""
        self._known(zone)
        require_utc(now)
        return None

    def _known(self, zone: str) -> _Hours:
        if zone not in self._zones:
            known = sorted(self._zones)
            what = f"is of zone {known[0]}" if len(known) == 1 else f"is of the zones {', '.join(known)}"
            remedy = f"set SPROUT_ZONE={known[0]}" if len(known) == 1 else "set SPROUT_ZONE"
            raise IntensityUnavailable(f"The trace {what}, not {zone}: {remedy}, or name it in SPROUT_ZONES.")
        return self._zones[zone]


class _Hours:
    """One zone's hours, repeated or not."""

    def __init__(self, trace: IntensityTrace, *, repeats: bool) -> None:
        self._points = {point.start: point for point in hourly(trace.points)}
        self._first = min(self._points)
        days = (max(self._points) + HOUR - self._first) // timedelta(days=1)
        if repeats and days < 1:
            raise ConfigurationError("A trace that repeats needs at least one whole day.")
        self._span = timedelta(days=days) if repeats else None

    def at(self, hour: datetime) -> IntensityPoint | None:
        return self._points.get(self._first + (hour - self._first) % self._span if self._span else hour)
