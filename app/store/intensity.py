"""Carbon intensity, hour by hour."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects.postgresql import insert

from app.domain.intensity import IntensityPoint
from app.store.knowledge import intensity


def _point(zone: str, basis: str, start_at: datetime, provider: str, grams: float) -> IntensityPoint:
    return IntensityPoint(zone=zone, basis=basis, start=start_at, provider=provider, intensity_g_per_kwh=grams)


_COLUMNS = (
    intensity.c.zone,
    intensity.c.basis,
    intensity.c.start_at,
    intensity.c.provider,
    intensity.c.intensity_g_per_kwh,
)


def put(connection: Connection, points: Sequence[IntensityPoint], now: datetime) -> None:
    """Store points; a known hour takes the newer figure."""
    if not points:
        return
    statement = insert(intensity)
    statement = statement.on_conflict_do_update(
        index_elements=["zone", "basis", "start_at"],
        set_={
            "provider": statement.excluded.provider,
            "intensity_g_per_kwh": statement.excluded.intensity_g_per_kwh,
            "fetched_at": statement.excluded.fetched_at,
        },
    )
    rows = [
        {
            "zone": point.zone,
            "basis": point.basis,
            "start_at": point.start,
            "provider": point.provider,
            "intensity_g_per_kwh": point.intensity_g_per_kwh,
            "fetched_at": now,
        }
        for point in points
    ]
    connection.execute(statement, rows)


def latest(connection: Connection, zone: str, basis: str, at: datetime) -> IntensityPoint | None:
    """The newest point that starts at or before `at`; its hour may have passed."""
    query = (
        select(*_COLUMNS)
        .where(intensity.c.zone == zone, intensity.c.basis == basis, intensity.c.start_at <= at)
        .order_by(intensity.c.start_at.desc())
        .limit(1)
    )
    row = connection.execute(query).first()
    return _point(*row) if row else None


def between(connection: Connection, zone: str, basis: str, start: datetime, end: datetime) -> Sequence[IntensityPoint]:
    """The points that start in [start, end), ascending."""
    query = (
        select(*_COLUMNS)
        .where(
            intensity.c.zone == zone,
            intensity.c.basis == basis,
            intensity.c.start_at >= start,
            intensity.c.start_at < end,
        )
        .order_by(intensity.c.start_at)
    )
    return [_point(*row) for row in connection.execute(query)]


def newest_start(connection: Connection, zone: str, basis: str) -> datetime | None:
    query = select(func.max(intensity.c.start_at)).where(intensity.c.zone == zone, intensity.c.basis == basis)
    return connection.execute(query).scalar()
