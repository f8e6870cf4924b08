"""One constant intensity."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from app.domain.intensity import HOUR, IntensityPoint
from app.domain.units import hour_of


class StaticProvider:
    """Every hour of every zone has the same, declared figure."""

    name = "static"

    def __init__(self, intensity_g_per_kwh: float, *, basis: str) -> None:
        self._intensity = intensity_g_per_kwh
        self._basis = basis

    def fetch(self, zone: str, start: datetime, end: datetime) -> Sequence[IntensityPoint]:
        first = hour_of(start)
        if first < start:
            first += HOUR
        hours = range(max(0, -((first - end) // HOUR)))
        return [
            IntensityPoint(
                zone=zone,
                start=first + hour * HOUR,
                intensity_g_per_kwh=self._intensity,
                basis=self._basis,
                provider=self.name,
            )
            for hour in hours
        ]
