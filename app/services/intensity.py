"""Keeping the store's carbon intensity current, and the figure that prices the present hour."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection

from app.domain.intensity import HOUR, IntensityPoint
from app.domain.units import hour_of
from app.ports import IntensityProvider
from app.services.context import Context
from app.settings import Settings
from app.store import intensity

PAST = timedelta(days=30)
"""How far back the range of intensities reaches that says how dirty an hour is."""


def refresh(context: Context, provider: IntensityProvider) -> int:
    """Fetch what is missing of the past 30 days up to the present hour; returns the number of new points."""
    settings, now = context.settings, context.clock.now()
    with context.database.transaction() as connection:
        newest = intensity.newest_start(connection, settings.zone, settings.intensity_basis)
    start = max(hour_of(now) - PAST, newest + HOUR) if newest else hour_of(now) - PAST
    end = hour_of(now) + HOUR
    if start >= end:
        return 0
    points = provider.fetch(settings.zone, start, end)
    with context.database.transaction() as connection:
        intensity.put(connection, points, now)
    return len(points)


def current(connection: Connection, settings: Settings, now: datetime) -> tuple[float, str]:
    """Intensity of the present hour and its basis; the basis says when another figure had to stand in.

    In this order: the hour's own point, the last known point, the declared SPROUT_STATIC_INTENSITY.
    """
    point = intensity.latest(connection, settings.zone, settings.intensity_basis, now)
    if point is None:
        return settings.static_intensity, f"{settings.intensity_basis} (none known, declared figure)"
    hours = age_hours(point, now)
    return point.intensity_g_per_kwh, point.basis if hours == 0 else f"{point.basis} (last known, {hours} h old)"


def age_hours(point: IntensityPoint, now: datetime) -> int:
    """Whole hours between the point's hour and the present one."""
    return (hour_of(now) - hour_of(point.start)) // HOUR
