"""What the configured source gives for a zone, tried and told in sentences."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from app.domain.errors import IntensityUnavailable
from app.domain.intensity import HOUR
from app.domain.units import hour_of
from app.ports import IntensityProvider

PAST_H = 24


def check(provider: IntensityProvider, zone: str, now: datetime) -> Iterator[str]:
    """One sentence on the last 24 hours and one on the forecast; what fails is a sentence too."""
    yield _past(provider, zone, now)
    yield _forecast(provider, zone, now)


def _past(provider: IntensityProvider, zone: str, now: datetime) -> str:
    end = hour_of(now) + HOUR
    try:
        points = provider.fetch(zone, end - PAST_H * HOUR, end)
    except IntensityUnavailable as exc:
        return exc.message
    if not points:
        return f"{provider.name} has no figure of zone {zone} for the last {PAST_H} hours."
    estimated = sum(point.is_estimated for point in points)
    newest = points[-1]
    return (
        f"{provider.name} has {len(points)} of the last {PAST_H} hours of zone {zone} ({provider.basis}), {estimated} "
        f"of them estimated; the newest, {newest.start:%Y-%m-%d %H:%M} UTC, reads {newest.intensity_g_per_kwh:.0f} "
        "gCO2eq/kWh."
    )


def _forecast(provider: IntensityProvider, zone: str, now: datetime) -> str:
    try:
        forecast = provider.forecast(zone, now)
    except IntensityUnavailable as exc:
        return exc.message
    if forecast is None:
        return f"{provider.name} has no forecast of zone {zone} to give: the built-in one stands in."
    return (
        f"{provider.name} forecasts zone {zone} for {len(forecast.intensity_g_per_kwh)} hours, to "
        f"{forecast.end:%Y-%m-%d %H:%M} UTC, issued {forecast.issued_at:%Y-%m-%d %H:%M} UTC: "
        f"{min(forecast.intensity_g_per_kwh):.0f} to {max(forecast.intensity_g_per_kwh):.0f} gCO2eq/kWh."
    )
