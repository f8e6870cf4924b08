"""Metered windows: what the hardware used, whether or not a request came of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, insert, select

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
    intensity_g_per_kwh: float
    intensity_basis: str


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
