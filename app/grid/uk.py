"""Carbon Intensity API of Great Britain: average intensity, of combustion only, national or by postcode.

The API is that of https://carbon-intensity.github.io/api-definitions, which needs no account.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from app.domain.errors import IntensityUnavailable
from app.domain.intensity import Basis, Forecast, IntensityPoint
from app.domain.units import hour_of
from app.grid.http import Api, Question, Reply, understanding
from app.grid.pace import Time
from app.grid.series import ZONES, forecast_of, hourly, hours_in, moment, number, spans, unknown_zone

URL = "https://api.carbonintensity.org.uk"
PER_SECOND = 2.0
LONGEST = timedelta(days=13)
"""Of one question for past hours: a day less than is allowed, since the answer begins before the question."""
PARTS = 2
"""Half-hours in an hour."""
ZONE = re.compile(r"GB(?:-(?P<outward>[A-Z]{1,2}[0-9][0-9A-Z]?))?")
ZONE_NAMES = "GB, or to GB- and the first half of a postcode, such as GB-RG10"


class UkProvider:
    """Only the nation has measured figures; those of a postcode's region are forecasts for ever."""

    name = "uk"
    basis = Basis.DIRECT_AVERAGE

    def __init__(self, *, url: str | None = None, clock: Time | None = None) -> None:
        self._api = Api("The Carbon Intensity API", url or URL, per_second=PER_SECOND, clock=clock)

    def fetch(self, zone: str, start: datetime, end: datetime) -> Sequence[IntensityPoint]:
        """A half-hour that has begun and is not measured yet has its forecast, as an estimate."""
        asked = hours_in(start, end)
        now = self._api.clock.now()
        known = [hour for hour in asked if hour <= now]
        path = _path(zone)
        points: list[IntensityPoint] = []
        for since, until in spans(known, LONGEST):
            rows = self._rows(path(f"{_time(since)}/{_time(until)}"), zone)
            with understanding(self._api.name, f"past half-hours of {zone}"):
                found = hourly((point for point in self._points(zone, rows) if point.start <= now), parts=PARTS)
                # The answer begins with the half-hour that ends where the question starts.
                points += [point for point in found if since <= point.start < until]
        return points

    def forecast(self, zone: str, now: datetime) -> Forecast | None:
        rows = self._rows(_path(zone)(f"{_time(hour_of(now))}/fw48h"), zone)
        with understanding(self._api.name, f"the forecast of {zone}"):
            return forecast_of(self._points(zone, rows, measured=False), now=now, issued_at=now)

    def _rows(self, path: str, zone: str) -> Sequence[Any]:
        reply = self._api.get(Question(path=path))
        if reply.status in (400, 404):
            raise unknown_zone(f"The Carbon Intensity API{reply.said}", zone, ZONE_NAMES)
        if not reply.is_success:
            raise reply.refused(f"the figures of {zone}")
        with understanding(self._api.name, f"the figures of {zone}"):
            return _half_hours(reply, zone)

    def _points(self, zone: str, rows: Sequence[Any], *, measured: bool = True) -> Iterator[IntensityPoint]:
        for row in rows:
            intensity = row["intensity"]
            actual = intensity.get("actual") if measured else None
            figure = intensity["forecast"] if actual is None else actual
            if figure is not None:
                yield IntensityPoint(
                    zone=zone,
                    start=moment(row["from"]),
                    intensity_g_per_kwh=number(figure),
                    basis=self.basis,
                    provider=self.name,
                    is_estimated=actual is None,
                )


def _path(zone: str) -> Callable[[str], str]:
    """The path for a span of the zone, as the source writes spans."""
    found = ZONE.fullmatch(zone)
    if found is None:
        raise unknown_zone("The Carbon Intensity API", zone, ZONE_NAMES)
    if found["outward"] is None:
        return "/intensity/{}".format
    return f"/regional/intensity/{{}}/postcode/{found['outward']}".format


def _half_hours(reply: Reply, zone: str) -> Sequence[Mapping[str, Any]]:
    """The list of half-hours, which for a region lies in an object, itself at times in a list."""
    # An unknown postcode and an outage both look like this, with status 200.
    if reply.text.strip() in ("", "{}"):
        raise IntensityUnavailable(
            f"The Carbon Intensity API answered with nothing for zone {zone}: if that lasts, it does not know the "
            f"postcode: {ZONES}, to {ZONE_NAMES}."
        )
    data = reply.json()["data"]
    if isinstance(data, list) and data and "data" in data[0]:
        data = data[0]
    return list(data["data"] if isinstance(data, dict) else data)


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%MZ")
