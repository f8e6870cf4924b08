"""Electricity Maps: average intensity of the electricity consumed in a zone, worldwide.

The API is that of https://app.electricitymaps.com/docs. Version 4 is asked first; where it has no such path, version 3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from cachetools import TTLCache

from app.domain.errors import IntensityUnavailable
from app.domain.intensity import HOUR, Basis, Forecast, IntensityPoint
from app.domain.units import hour_of
from app.grid.http import Api, Question, Reply, understanding
from app.grid.pace import Time
from app.grid.series import ZONES, forecast_of, hourly, hours_in, iso, moment, number, spans, unknown_zone

URL = "https://api.electricitymaps.com"
PER_SECOND = 2.0
LONGEST = timedelta(days=10)
"""Of one question for past hours."""
HORIZON_H = "72"
"""The longest; plans may allow less, and then the source's own default is taken."""
FACTORS = {Basis.LIFECYCLE_AVERAGE: "lifecycle", Basis.DIRECT_AVERAGE: "direct"}
LACKING_S = 3600.0
"""How long an endpoint that the plan lacks is not asked again."""
TOKEN = "SPROUT_ELECTRICITY_MAPS_TOKEN"  # noqa: S105 - the name of a setting
ZONE_NAMES = "one of https://api.electricitymaps.com/v3/zones, such as DE"


class ElectricityMapsProvider:
    name = "electricity_maps"

    def __init__(self, token: str, *, basis: Basis, url: str | None = None, clock: Time | None = None) -> None:
        self.basis = basis
        self._api = Api("Electricity Maps", url or URL, per_second=PER_SECOND, clock=clock)
        self._headers = {"auth-token": token}
        self._only_v3: set[str] = set()
        self._lacking: TTLCache[object, bool] = TTLCache(256, LACKING_S, timer=self._api.clock.monotonic)

    def fetch(self, zone: str, start: datetime, end: datetime) -> Sequence[IntensityPoint]:
        """Hours that the plan does not reach are absent: the smallest gives the last 24, or the newest one."""
        asked = hours_in(start, end)
        known = [hour for hour in asked if hour <= self._api.clock.now()]
        if not known:
            return []
        points: list[IntensityPoint] = []
        for since, until in spans(known, LONGEST):
            body = self._ask("past-range", zone, start=iso(since), end=iso(until))
            if body is None:
                return self._hours(zone, self._recent(zone), known[0], known[-1] + HOUR)
            points += self._hours(zone, body, since, until)
        return points

    def forecast(self, zone: str, now: datetime) -> Forecast | None:
        hour_of(now)  # refuses what is not UTC before anything is asked
        body = self._ask("forecast", zone, horizonHours=HORIZON_H) or self._ask("forecast", zone)
        if body is None:
            return None
        with understanding(self._api.name, f"the forecast of {zone}"):
            issued_at = moment(body["updatedAt"]) if body.get("updatedAt") else now
            return forecast_of(self._points(zone, body), now=now, issued_at=issued_at)

    def _recent(self, zone: str) -> dict[str, Any]:
        """What plans without `past-range` have."""
        body = self._ask("history", zone) or self._ask("latest", zone)
        if body is None:
            raise IntensityUnavailable(
                f"The plan of {TOKEN} gives no past hours of zone {zone}, not even the newest one: {ZONES}, to a zone "
                "of the plan, or check the token."
            )
        return body

    def _hours(self, zone: str, body: Mapping[str, Any], start: datetime, end: datetime) -> Sequence[IntensityPoint]:
        with understanding(self._api.name, f"past hours of {zone}"):
            return [point for point in hourly(self._points(zone, body)) if start <= point.start < end]

    def _ask(self, path: str, zone: str, **params: str) -> dict[str, Any] | None:
        """The body; None if the plan lacks this endpoint for this zone."""
        key = path, zone, "horizonHours" in params
        if key in self._lacking:
            return None
        reply = self._reply(path, zone, params)
        if _lacks(reply) or (reply.status == 400 and "horizonHours" in params):
            self._lacking[key] = True
            return None
        if reply.status in (401, 403):
            raise IntensityUnavailable(f"Electricity Maps does not accept the token{reply.said}: check {TOKEN}.")
        if reply.status in (400, 404, 410):
            raise unknown_zone(f"Electricity Maps{reply.said}", zone, ZONE_NAMES)
        if not reply.is_success:
            raise reply.refused(f"{path} of zone {zone}")
        body = reply.json()
        with understanding(self._api.name, f"{path} of {zone}"):
            # Where it does not know a zone it may answer for the place from which it is asked.
            if body.get("zone", zone) != zone:
                raise unknown_zone(f"Electricity Maps, which answered for {body['zone']},", zone, ZONE_NAMES)
            return dict(body)

    def _reply(self, path: str, zone: str, params: Mapping[str, str]) -> Reply:
        params = {
            "zone": zone,
            "emissionFactorType": FACTORS[self.basis],
            "disableCallerLookup": "true",
            "temporalGranularity": "hourly",
            **params,
        }
        versions = ("v3",) if path in self._only_v3 else ("v4", "v3")
        for version in versions:
            question = Question(path=f"/{version}/carbon-intensity/{path}", params=params, headers=self._headers)
            reply = self._api.get(question)
            if reply.status not in (404, 410):
                break
        # An unknown zone is a 404 too, so that only a good answer shows that version 3 has what version 4 lacks.
        if version == "v3" and reply.is_success:
            self._only_v3.add(path)
        return reply

    def _points(self, zone: str, body: Mapping[str, Any]) -> Iterator[IntensityPoint]:
        for row in _rows(body):
            factors = row.get("emissionFactorType", body.get("emissionFactorType"))
            if factors not in (None, FACTORS[self.basis]):
                raise IntensityUnavailable(
                    f"Electricity Maps answered with {factors} figures where {FACTORS[self.basis]} ones were asked "
                    f"for: set SPROUT_INTENSITY_BASIS to what the plan gives."
                )
            if row["carbonIntensity"] is not None:
                yield IntensityPoint(
                    zone=zone,
                    start=moment(row["datetime"]),
                    intensity_g_per_kwh=number(row["carbonIntensity"]),
                    basis=self.basis,
                    provider=self.name,
                    is_estimated=bool(row.get("isEstimated", False)),
                )


def _rows(body: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The list in the envelope; `latest` has none, and is its own only row."""
    rows: Any = next((body[name] for name in ("history", "data", "forecast") if name in body), body)
    return [rows] if isinstance(rows, dict) else list(rows)


def _lacks(reply: Reply) -> bool:
    """A 401 is about the plan if it names an endpoint or a zone, and about the token if not."""
    words = reply.detail.lower()
    return reply.status in (401, 403) and any(word in words for word in ("zone", "endpoint", "plan"))
