"""Keeping the store's carbon intensity current, and the figure that prices the present hour."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from app.domain.errors import IntensityUnavailable, SproutError
from app.domain.intensity import HOUR, Basis, IntensityPoint, Origin
from app.domain.units import hour_of
from app.grid.failures import RETRY, Failures
from app.ports import IntensityProvider
from app.services import forecasts
from app.services.context import Context
from app.services.settlement import settle
from app.settings import Settings
from app.store import intensity
from app.store.database import Database

log = logging.getLogger(__name__)
_failures = Failures()
_turn = threading.RLock()

PAST = timedelta(days=30)
"""How far back the range of intensities reaches that says how dirty an hour is."""

STALE_INTENSITY = timedelta(hours=3)
"""Older than this, the intensity says nothing about the present."""

RECENT = timedelta(hours=48)
"""Hours that are fetched again once an hour: until then sources revise them."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """The carbon intensity of an hour, and how it was had."""

    zone: str
    intensity_g_per_kwh: float
    basis: Basis
    origin: Origin
    provider: str
    start: datetime
    """Of its hour; an earlier one than the present where the last good figure stands in."""


def known(connection: Connection, basis: Basis, zone: str, now: datetime) -> Figure | None:
    """The figure that says something about the present hour: its own, else the last good one within three hours, else
    what the newest forecast expected of it."""
    hour = hour_of(now)
    point = intensity.latest(connection, zone, basis, now)
    if point is not None and hour - hour_of(point.start) <= STALE_INTENSITY:
        return as_figure(point, now)
    expected = forecasts.at(connection, basis, zone, now)
    if expected is None:
        return None
    return Figure(
        zone=zone,
        intensity_g_per_kwh=expected.intensity_g_per_kwh,
        basis=basis,
        origin=Origin.FORECAST,
        provider=expected.provider,
        start=hour,
    )


def current(connection: Connection, settings: Settings, zone: str, now: datetime) -> Figure:
    """The figure that prices the present hour: what is known of it, else the zone's mean of the past 30 days, else
    SPROUT_STATIC_INTENSITY."""
    found = known(connection, settings.basis, zone, now)
    if found is not None:
        return found
    hour = hour_of(now)
    mean = intensity.mean(connection, zone, settings.basis, hour - PAST, hour)
    declared = mean is None
    return Figure(
        zone=zone,
        intensity_g_per_kwh=settings.static_intensity if mean is None else mean,
        basis=settings.basis,
        origin=Origin.STATIC if declared else Origin.ZONE_MEAN,
        provider="static" if declared else "stored hours",
        start=hour,
    )


def past(connection: Connection, settings: Settings, zone: str, now: datetime) -> Sequence[float]:
    """gCO2eq/kWh of the known hours of the past 30 days, up to the present one."""
    hour = hour_of(now)
    points = intensity.between(connection, zone, settings.basis, hour - PAST, hour + HOUR)
    return [point.intensity_g_per_kwh for point in points]


def as_figure(point: IntensityPoint, now: datetime) -> Figure:
    """A stored hour as a figure for the present one."""
    if hour_of(point.start) < hour_of(now):
        origin = Origin.LAST_GOOD
    elif point.provider == Origin.STATIC:
        # A declared figure is not measured because it is stored hour by hour. The provider of it bears that name.
        origin = Origin.STATIC
    else:
        origin = Origin.ESTIMATED if point.is_estimated else Origin.MEASURED
    return Figure(
        zone=point.zone,
        intensity_g_per_kwh=point.intensity_g_per_kwh,
        basis=point.basis,
        origin=origin,
        provider=point.provider,
        start=point.start,
    )


def age_hours(start: datetime, now: datetime) -> int:
    """Whole hours between the hour of `start` and the present one."""
    return (hour_of(now) - hour_of(start)) // HOUR


@contextmanager
def turn(wait_s: float = 0.0) -> Iterator[bool]:
    """Whether the calling thread is the only one of this process that keeps the store current, for as long as this
    lasts; False if another one is, and still is after `wait_s`.

    A source that is slow, or does not answer, then holds up one thread of the scheduler, and not one more each minute.
    Nested turns of one thread are one. Other processes do not matter: what is fetched twice is stored once.
    """
    is_ours = _turn.acquire(timeout=wait_s)
    try:
        yield is_ours
    finally:
        if is_ours:
            _turn.release()


def refresh(context: Context, provider: IntensityProvider, *, wait_s: float = 0.0) -> int:
    """For every zone, fetch what is missing of the past 30 days, and once an hour the recent hours again.

    The ledger is settled with what changed. Returns how many hours are new or have another figure; 0 without a look
    while another thread is at it (`turn`). A zone whose source fails is logged, and the others go on.
    """
    with turn(wait_s) as is_ours:
        return sum(_refresh(context, provider, zone) for zone in context.settings.all_zones) if is_ours else 0


def _refresh(context: Context, provider: IntensityProvider, zone: str) -> int:
    basis, now = context.settings.basis, context.clock.now()
    if _failures.are_recent(provider, zone, now):
        return 0
    with context.database.transaction() as connection:
        start = _due(connection, provider, basis, zone, now)
    if start is None:
        return 0
    try:
        points = fetch(provider, basis, zone, start, hour_of(now) + HOUR)
    except SproutError as exc:
        log.warning("carbon intensity of zone %s: %s", zone, exc.message)
        _failures.note(provider, zone, context.clock.now())
        return 0
    return store(context.database, points, now)


def _due(
    connection: Connection, provider: IntensityProvider, basis: Basis, zone: str, now: datetime
) -> datetime | None:
    """The first hour that is to be fetched now; None for not yet.

    Gaps that are older than the recent hours are tried for once a day: most of them stay.
    """
    hour, is_declared = hour_of(now), provider.name == Origin.STATIC
    present = intensity.latest(connection, zone, basis, now)
    last = intensity.last_fetch(connection, zone, basis, hour - PAST)
    asked = last is not None and hour <= last <= now
    is_final = present is not None and present.start == hour and not present.is_estimated
    # Hours that were only declared are as good as missing once there is a real source.
    settled = intensity.latest(connection, zone, basis, hour - RECENT / 2)
    replaces = not is_declared and settled is not None and settled.provider == Origin.STATIC
    if last is not None and asked and not replaces and (is_final or now - last < RETRY):
        return None
    whole = last is None or replaces or now - last > RECENT / 2 or last.date() < hour.date()
    first = hour - (PAST if whole else RECENT)
    stored = intensity.between(connection, zone, basis, first, hour + HOUR)
    final = {
        point.start for point in stored if not point.is_estimated and (is_declared or point.provider != Origin.STATIC)
    }
    hours = (first + number * HOUR for number in range((hour - first) // HOUR + 1))
    missing = next((start for start in hours if start not in final), None)
    if is_declared:
        # A declared figure holds from when it was declared: it is no revision of earlier hours.
        return missing
    return min(missing or hour, hour - RECENT)


def fetch(
    provider: IntensityProvider, basis: Basis, zone: str, start: datetime, end: datetime
) -> Sequence[IntensityPoint]:
    """The provider's hours in [start, end), ascending.

    Raises:
        IntensityUnavailable: the source does not answer, or with something else than was asked for.
    """
    points = provider.fetch(zone, start, end)
    for point in points:
        if (point.zone, point.basis) != (zone, basis) or not start <= point.start < end:
            raise IntensityUnavailable(
                f"{provider.name} answered with {point.start.isoformat()} in zone {point.zone}, {point.basis}: asked "
                f"were the hours from {start.isoformat()} to {end.isoformat()} in zone {zone}, {basis}."
            )
        if hour_of(point.start) != point.start:
            raise IntensityUnavailable(f"{provider.name} answered with {point.start.isoformat()}, which is no hour.")
    return sorted(points, key=lambda point: point.start)


def store(database: Database, points: Sequence[IntensityPoint], now: datetime) -> int:
    """Store hours of one zone and settle the ledger with them; returns how many are new or have another figure."""
    if not points:
        return 0
    zone, basis = points[0].zone, points[0].basis
    with database.transaction() as connection:
        if points[0].provider == Origin.STATIC:
            # A figure that was declared never replaces one that was had.
            stored = intensity.between(connection, zone, basis, points[0].start, points[-1].start + HOUR)
            taken = {point.start for point in stored}
            points = [point for point in points if point.start not in taken]
        changed = intensity.put(connection, points, now)
        # The recent hours in any case: a worker that priced a row while they were being stored did not see them.
        settle(connection, zone, basis, since=min([*changed, hour_of(now) - RECENT]), now=now)
    return len(changed)


def backfill(
    database: Database, settings: Settings, provider: IntensityProvider, zone: str, days: int, now: datetime
) -> int:
    """Fetch and store the hours of the past `days`, known ones too; returns how many are new or have another figure.

    Raises:
        IntensityUnavailable: the source does not answer.
    """
    end = hour_of(now) + HOUR
    return store(database, fetch(provider, settings.basis, zone, end - HOUR - timedelta(days=days), end), now)
