"""Carbon intensity in a test's hands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from app.domain.errors import IntensityUnavailable
from app.domain.intensity import HOUR, Basis, Forecast, IntensityPoint
from app.domain.units import hour_of
from tests.support.clock import NOON

BASIS = Basis.LIFECYCLE_AVERAGE


def a_point(hours: float, grams: float, **changes: Any) -> IntensityPoint:
    """The hour that starts `hours` after noon."""
    values: dict[str, Any] = {"zone": "WORLD", "basis": BASIS, "provider": "test", "start": NOON + hours * HOUR}
    return IntensityPoint(**{**values, "intensity_g_per_kwh": grams, **changes})


def a_forecast(grams: Sequence[float], *, start: float = 0, issued: float = 0, **changes: Any) -> Forecast:
    """Of the hours from `start` hours after noon on, issued `issued` hours after noon."""
    values: dict[str, Any] = {"zone": "WORLD", "basis": BASIS, "provider": "test", "intensity_g_per_kwh": grams}
    return Forecast(**{**values, "start": NOON + start * HOUR, "issued_at": NOON + issued * HOUR, **changes})


class ScriptedProvider:
    """The IntensityProvider port: every hour of every zone has `grams`, unless the script says otherwise.

    Notes in `asked` what is fetched.
    """

    def __init__(
        self,
        grams: float = 300.0,
        *,
        name: str = "scripted",
        basis: Basis = BASIS,
        knows: bool = True,
        faults: Mapping[str, Exception | IntensityPoint] | None = None,
        forecasts: Mapping[str, Exception | Forecast] | None = None,
        forecast_hours: int = 0,
    ) -> None:
        self.name = name
        self.basis = basis
        self.grams = grams
        self.figures: dict[datetime, float] = {}
        self.estimated: set[datetime] = set()
        self.missing: set[datetime] = set()
        self.faults = dict(faults or {})
        """By zone: what a fetch raises, or a point that does not belong into its answer."""
        self.forecasts = dict(forecasts or {})
        """By zone: its own forecast, or what asking for it raises; `forecast_hours` of `grams` for the others."""
        self.asked: list[tuple[str, datetime, datetime]] = []
        self.asked_ahead: list[str] = []
        self._knows = knows
        self._forecast_hours = forecast_hours

    def fetch(self, zone: str, start: datetime, end: datetime) -> Sequence[IntensityPoint]:
        self.asked.append((zone, start, end))
        fault = self.faults.get(zone)
        if isinstance(fault, Exception):
            raise fault
        first = hour_of(start) + (HOUR if hour_of(start) < start else 0 * HOUR)
        hours = [first + number * HOUR for number in range(max(0, -((first - end) // HOUR)))]
        points = [self._point(zone, hour) for hour in hours if self._knows and hour not in self.missing]
        return [*points, fault] if fault else points

    def _point(self, zone: str, hour: datetime) -> IntensityPoint:
        return IntensityPoint(
            zone=zone,
            start=hour,
            intensity_g_per_kwh=self.figures.get(hour, self.grams),
            basis=self.basis,
            provider=self.name,
            is_estimated=hour in self.estimated,
        )

    def forecast(self, zone: str, now: datetime) -> Forecast | None:
        self.asked_ahead.append(zone)
        found, start = self.forecasts.get(zone), hour_of(now)
        if isinstance(found, Exception):
            raise found
        if found or not self._forecast_hours:
            return found
        return Forecast(
            zone=zone,
            basis=self.basis,
            provider=self.name,
            issued_at=now,
            start=start,
            intensity_g_per_kwh=[self.grams] * self._forecast_hours,
        )


def silent() -> ScriptedProvider:
    """A source that does not answer, wherever it is asked."""

    class Silent(ScriptedProvider):
        def fetch(self, zone: str, start: datetime, end: datetime) -> Sequence[IntensityPoint]:
            raise IntensityUnavailable("The source of carbon intensity does not answer.")

        def forecast(self, zone: str, now: datetime) -> Forecast | None:
            raise IntensityUnavailable("The source of carbon intensity does not answer.")

    return Silent(name="silent")
