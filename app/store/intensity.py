"""Carbon intensity, hour by hour."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, bindparam, func, select
from sqlalchemy.dialects.postgresql import insert

from app.domain.intensity import HOUR, Basis, IntensityPoint
from app.store.knowledge import intensity

_COLUMNS = (
    intensity.c.zone,
    intensity.c.basis,
    intensity.c.start_at,
    intensity.c.provider,
    intensity.c.intensity_g_per_kwh,
    intensity.c.is_estimated,
)


def _point(
    zone: str, basis: str, start_at: datetime, provider: str, grams: float, is_estimated: bool
) -> IntensityPoint:
    return IntensityPoint(
        zone=zone,
        basis=Basis(basis),
        start=start_at,
        provider=provider,
        intensity_g_per_kwh=grams,
        is_estimated=is_estimated,
    )


def put(connection: Connection, points: Sequence[IntensityPoint], now: datetime) -> Sequence[datetime]:
    """Store points of one zone and basis; a known hour takes the newer figure.

    Returns the hours that are new, or whose figure or standing as an estimate is another one than before.
    """
    if not points:
        return []
    starts = [point.start for point in points]
    before = {
        point.start: (point.intensity_g_per_kwh, point.is_estimated)
        for point in between(connection, points[0].zone, points[0].basis, min(starts), max(starts) + HOUR)
    }
    statement = insert(intensity)
    updated = ("provider", "intensity_g_per_kwh", "is_estimated", "fetched_at")
    statement = statement.on_conflict_do_update(
        index_elements=["zone", "basis", "start_at"], set_={name: statement.excluded[name] for name in updated}
    )
    rows = [
        {
            "zone": point.zone,
            "basis": point.basis,
            "start_at": point.start,
            "provider": point.provider,
            "intensity_g_per_kwh": point.intensity_g_per_kwh,
            "is_estimated": point.is_estimated,
            "fetched_at": now,
        }
        for point in points
    ]
    connection.execute(statement, rows)
    return [
        point.start for point in points if before.get(point.start) != (point.intensity_g_per_kwh, point.is_estimated)
    ]


# Built once: every group of results is priced.
_LATEST = (
    select(*_COLUMNS)
    .where(
        intensity.c.zone == bindparam("place"),
        intensity.c.basis == bindparam("kind"),
        intensity.c.start_at <= bindparam("at"),
    )
    .order_by(intensity.c.start_at.desc())
    .limit(1)
)


def latest(connection: Connection, zone: str, basis: str, at: datetime) -> IntensityPoint | None:
    """The newest point that starts at or before `at`; its hour may have passed."""
    row = connection.execute(_LATEST, {"place": zone, "kind": basis, "at": at}).first()
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


def mean(connection: Connection, zone: str, basis: str, start: datetime, end: datetime) -> float | None:
    """Of the points that start in [start, end); None where there are none."""
    query = select(func.avg(intensity.c.intensity_g_per_kwh)).where(
        intensity.c.zone == zone,
        intensity.c.basis == basis,
        intensity.c.start_at >= start,
        intensity.c.start_at < end,
    )
    return connection.execute(query).scalar()


def last_fetch(connection: Connection, zone: str, basis: str, since: datetime) -> datetime | None:
    """When a point that starts at or after `since` was stored last."""
    query = select(func.max(intensity.c.fetched_at)).where(
        intensity.c.zone == zone, intensity.c.basis == basis, intensity.c.start_at >= since
    )
    return connection.execute(query).scalar()
