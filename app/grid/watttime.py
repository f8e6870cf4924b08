"""WattTime: marginal intensity, that of the power plants which answer to a change in demand, worldwide.

The API is version 3 of https://docs.watttime.org.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from app.domain.errors import IntensityUnavailable
from app.domain.intensity import HOUR, Basis, Forecast, IntensityPoint
from app.domain.units import hour_of
from app.grid.http import Api, Question, Reply, understanding
from app.grid.pace import Time
from app.grid.series import ZONES, forecast_of, hourly, hours_in, iso, moment, number, spans, unknown_zone

URL = "https://api.watttime.org"
PER_SECOND = 8.0
"""An account may ask 3000 times in 5 minutes, all of its processes together."""
LONGEST = timedelta(days=32)
"""Of one question for past hours."""
HORIZON_H = "72"
"""The longest; where a region has less, the source's own default is taken."""
TOKEN_LIFE_S = 25 * 60.0
"""A token is good for 30 minutes; one that is about to end is not used."""
SIGNAL = "co2_moer"
UNITS = "lbs_co2_per_mwh"
G_PER_KWH = 0.45359237
"""Of one pound per MWh: 453.59237 g over 1000 kWh."""
STEP_S = 300
ACCOUNT = "SPROUT_WATTTIME_USER and SPROUT_WATTTIME_PASSWORD"
ZONE_NAMES = "the abbreviation of one of its regions, such as CAISO_NORTH"

log = logging.getLogger(__name__)


class WattTimeProvider:
    name = "watttime"
    basis = Basis.DIRECT_MARGINAL

    def __init__(self, user: str, password: str, *, url: str | None = None, clock: Time | None = None) -> None:
        self._api = Api("WattTime", url or URL, per_second=PER_SECOND, clock=clock)
        self._account = user, password
        self._lock = threading.Lock()
        self._token = ""
        self._token_ends = 0.0
        self._warned: set[str] = set()

    def fetch(self, zone: str, start: datetime, end: datetime) -> Sequence[IntensityPoint]:
        asked = hours_in(start, end)
        known = [hour for hour in asked if hour <= self._api.clock.now()]
        points: list[IntensityPoint] = []
        for since, until in spans(known, LONGEST):
            reply = self._reply("historical", zone, start=iso(since), end=iso(until))
            body = self._checked(reply, "historical", zone)
            with understanding(self._api.name, f"past hours of {zone}"):
                found = hourly(self._points(zone, body), parts=_parts(body))
                points += [point for point in found if since <= point.start < until]
        return points

    def forecast(self, zone: str, now: datetime) -> Forecast | None:
        hour_of(now)  # refuses what is not UTC before anything is asked
        reply = self._reply("forecast", zone, horizon_hours=HORIZON_H)
        if reply.status in (400, 403, 422):
            reply = self._reply("forecast", zone)
        if reply.status == 403:
            return None
        body = self._checked(reply, "forecast", zone)
        with understanding(self._api.name, f"the forecast of {zone}"):
            generated = body["meta"].get("generated_at")
            issued_at = moment(generated) if generated else now
            return forecast_of(self._points(zone, body), now=now, issued_at=issued_at)

    def _reply(self, path: str, zone: str, **params: str) -> Reply:
        """With one new token if the old one is not accepted any more."""
        given = {"region": zone, "signal_type": SIGNAL, **params}
        token = self._signed_in()
        reply = self._api.get(_question(path, given, token))
        if reply.status == 401:
            reply = self._api.get(_question(path, given, self._signed_in(instead_of=token)))
        return reply

    def _signed_in(self, *, instead_of: str | None = None) -> str:
        """A token, a new one if the present one is old or is the one not to use."""
        with self._lock:
            if self._token != instead_of and self._token and self._api.clock.monotonic() < self._token_ends:
                return self._token
            asked_at = self._api.clock.monotonic()
            reply = self._api.get(Question(path="/login", auth=self._account), remember=False)
            if reply.status in (400, 401, 403):
                raise IntensityUnavailable(f"WattTime does not accept the account{reply.said}: check {ACCOUNT}.")
            if not reply.is_success:
                raise reply.refused("the sign-in")
            with understanding(self._api.name, "a token"):
                self._token = str(reply.json()["token"])
            self._token_ends = asked_at + TOKEN_LIFE_S
            return self._token

    def _checked(self, reply: Reply, path: str, zone: str) -> Mapping[str, Any]:
        """The body of a good answer for this zone, in the signal and the unit that were asked for."""
        if reply.status == 401:
            raise IntensityUnavailable(f"WattTime does not accept its own new token{reply.said}: check {ACCOUNT}.")
        if reply.status == 403:
            raise IntensityUnavailable(
                f"The WattTime plan of SPROUT_WATTTIME_USER does not hold {path} of zone {zone}{reply.said}: {ZONES}, "
                "to a region of the plan, or extend the plan."
            )
        if reply.status in (400, 404, 422):
            raise unknown_zone(f"WattTime{reply.said}", zone, ZONE_NAMES)
        if not reply.is_success:
            raise reply.refused(f"{path} of zone {zone}")
        body = reply.json()
        with understanding(self._api.name, f"{path} of {zone}"):
            meta = body["meta"]
            if (meta["signal_type"], meta["units"]) != (SIGNAL, UNITS):
                raise IntensityUnavailable(
                    f"WattTime answered with {meta['signal_type']} in {meta['units']} where {SIGNAL} in {UNITS} was "
                    "asked for: check SPROUT_INTENSITY_URL if it is set."
                )
            if meta.get("region", zone) != zone:
                raise unknown_zone(f"WattTime, which answered for {meta['region']},", zone, ZONE_NAMES)
            self._warn(zone, meta.get("warnings") or ())
            return dict(body)

    def _warn(self, zone: str, warnings: Sequence[Mapping[str, Any]]) -> None:
        for warning in warnings:
            line = f"WattTime, zone {zone}: {warning.get('type', 'warning')}: {warning.get('message', '')}"
            if line not in self._warned:
                self._warned.add(line)
                log.warning("%s", line)

    def _points(self, zone: str, body: Mapping[str, Any]) -> Iterator[IntensityPoint]:
        for row in body["data"]:
            if row["value"] is not None:
                yield IntensityPoint(
                    zone=zone,
                    start=moment(row["point_time"]),
                    intensity_g_per_kwh=number(row["value"]) * G_PER_KWH,
                    basis=self.basis,
                    provider=self.name,
                )


def _question(path: str, params: Mapping[str, str], token: str) -> Question:
    return Question(path=f"/v3/{path}", params=params, headers={"Authorization": f"Bearer {token}"})


def _parts(body: Mapping[str, Any]) -> int:
    """How many points a whole hour has."""
    step = timedelta(seconds=number(body["meta"].get("data_point_period_seconds", STEP_S)))
    return max(1, HOUR // step)
