"""Metered windows: what the hardware used, whether or not a request came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, extract, func, insert, select
from sqlalchemy.dialects.postgresql import distinct_on

from app.store.tables import windows


@dataclass(frozen=True, kw_only=True)
class Window:
    worker: str
    started_at: datetime
    ended_at: datetime
    energy_j: float
    device_s: float
    idle_energy_j: float
    """The part in which no request ran."""
    idle_device_s: float
    energy_basis: str
    zone: str
    model: str
    """The one that the worker serves."""
    intensity_g_per_kwh: float
    intensity_basis: str
    intensity_origin: str


@dataclass(frozen=True, kw_only=True)
class SeenWorker:
    """A worker by its newest window."""

    ended_at: datetime
    devices: float
    """Device-seconds per second of that window."""


@dataclass(frozen=True, kw_only=True)
class WindowTotal:
    energy_j: float
    idle_energy_j: float
    idle_device_s: float


def add(connection: Connection, window: Window) -> None:
    connection.execute(insert(windows).values(**vars(window)))


def total(connection: Connection, start: datetime, end: datetime) -> WindowTotal:
    """What all workers used in the windows that end in [start, end)."""
    query = select(
        func.coalesce(func.sum(windows.c.energy_j), 0.0),
        func.coalesce(func.sum(windows.c.idle_energy_j), 0.0),
        func.coalesce(func.sum(windows.c.idle_device_s), 0.0),
    ).where(windows.c.ended_at >= start, windows.c.ended_at < end)
    energy_j, idle_energy_j, idle_device_s = connection.execute(query).one()
    return WindowTotal(energy_j=energy_j, idle_energy_j=idle_energy_j, idle_device_s=idle_device_s)


def models(connection: Connection, since: datetime) -> Sequence[str]:
    """The models of the workers with a window that ended since, by name."""
    query = select(windows.c.model).distinct().where(windows.c.ended_at >= since).order_by(windows.c.model)
    return list(connection.execute(query).scalars())


def workers(connection: Connection, zone: str, model: str, since: datetime) -> Sequence[SeenWorker]:
    """Those of a zone that serve a model, with a window that ended since."""
    length_s = extract("epoch", windows.c.ended_at - windows.c.started_at)
    query = (
        select(windows.c.ended_at, (windows.c.device_s / length_s).label("devices"))
        .where(windows.c.zone == zone, windows.c.model == model, windows.c.ended_at >= since, length_s > 0)
        .ext(distinct_on(windows.c.worker))
        .order_by(windows.c.worker, windows.c.ended_at.desc())
    )
    return [SeenWorker(ended_at=row.ended_at, devices=float(row.devices)) for row in connection.execute(query)]


def worked_on(connection: Connection, machine: str, since: datetime) -> str | None:
    """A worker on the host `machine` with a window that ended since."""
    query = select(windows.c.worker).where(
        windows.c.worker.endswith(f"@{machine}", autoescape=True), windows.c.ended_at >= since
    )
    return connection.execute(query.limit(1)).scalar()


def idle_w(connection: Connection, zone: str, model: str, since: datetime) -> float:
    """Mean watts of an idle device of a zone's workers of a model, in the windows that ended since; 0 where none was
    idle."""
    joules, seconds = func.sum(windows.c.idle_energy_j), func.sum(windows.c.idle_device_s)
    query = select(func.coalesce(joules / func.nullif(seconds, 0), 0.0)).where(
        windows.c.zone == zone, windows.c.model == model, windows.c.ended_at >= since
    )
    return float(connection.execute(query).scalar_one())
