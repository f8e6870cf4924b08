"""The state of the grid: kept current, and shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from app.domain.intensity import HOUR
from app.domain.units import hour_of
from app.ports import IntensityProvider
from app.services import capacity, forecasts, intensity
from app.services.capacity import Capacity
from app.services.context import Context
from app.settings import Settings
from app.store import intensity as stored

SHOWN = timedelta(hours=24)
"""How much of the past is shown."""


def refresh(context: Context, provider: IntensityProvider) -> None:
    """Bring figures, ledger and forecasts of every zone up to date, as far as something is due.

    Another thread may be at it: then this one leaves it to that one (`intensity.turn`).
    """
    with intensity.turn() as is_ours:
        if is_ours:
            intensity.refresh(context, provider)
            forecasts.refresh(context, provider)


def overview(context: Context) -> Sequence[Mapping[str, Any]]:
    """Per zone, the default one first: devices that work there, the present figure, the past 24 hours, the forecast and
    how forecasts fared."""
    settings, now = context.settings, context.clock.now()
    with context.database.transaction() as connection:
        models = capacity.models(connection, settings, now)
        seen = [capacity.measured(connection, settings, now, model) for model in models]
        return [
            {**_zone(connection, settings, zone, now), "devices": sum(_devices(each.get(zone)) for each in seen)}
            for zone in settings.all_zones
        ]


def _devices(seen: Capacity | None) -> float:
    return seen.devices if seen and seen.is_measured else 0.0


def _zone(connection: Connection, settings: Settings, zone: str, now: datetime) -> Mapping[str, Any]:
    figure, hour = asdict(intensity.current(connection, settings, zone, now)), hour_of(now)
    past = stored.between(connection, zone, settings.basis, hour - SHOWN, hour)
    scores = forecasts.scores(connection, settings, zone, now)
    expected = forecasts.expected(connection, settings, zone, now)
    return {
        "zone": figure.pop("zone"),
        "basis": figure.pop("basis"),
        "present": figure,
        "past": [
            {
                "start": point.start,
                "intensity_g_per_kwh": point.intensity_g_per_kwh,
                "origin": intensity.as_figure(point, point.start).origin,
                "provider": point.provider,
            }
            for point in past
        ],
        "forecast": [
            {
                **asdict(ahead),
                "error_90": forecasts.error_90(scores, ahead.provider, (ahead.start - ahead.issued_at) / HOUR),
            }
            for ahead in expected
            if ahead.issued_at is not None
        ],
        "scores": [asdict(score) for score in scores],
    }
