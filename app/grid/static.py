"""One constant intensity."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from app.domain.batch import LONGEST_WINDOW_H
from app.domain.intensity import Basis, Forecast, IntensityPoint
from app.domain.units import hour_of
from app.grid.series import hours_in


class StaticProvider:
    """Every hour of every zone has the same, declared figure."""

    name = "static"

    def __init__(self, intensity_g_per_kwh: float, *, basis: Basis) -> None:
        self._intensity = intensity_g_per_kwh
        self.basis = basis

    def fetch(self, zone: str, start: datetime, end: datetime) -> Sequence[IntensityPoint]:
        return [
            IntensityPoint(
                zone=zone, start=hour, intensity_g_per_kwh=self._intensity, basis=self.basis, provider=self.name
            )
            for hour in hours_in(start, end)
        ]

    def forecast(self, zone: str, now: datetime) -> Forecast:
        return Forecast(
            zone=zone,
            basis=self.basis,
            provider=self.name,
            issued_at=now,
            start=hour_of(now),
            intensity_g_per_kwh=[self._intensity] * LONGEST_WINDOW_H,
        )
