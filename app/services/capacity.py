"""How much the workers of a zone can do: measured from their windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from app.settings import Settings
from app.store import windows

SEEN = timedelta(minutes=10)
"""A worker whose last window ended longer before the newest of its zone is gone."""

REMEMBERED = timedelta(hours=24)
"""While no worker of a zone is seen, those that were there last count: they may be restarting."""


@dataclass(frozen=True, kw_only=True)
class Capacity:
    devices: float
    """Device-seconds per second."""
    idle_w: float
    """Watts of a device that does nothing; 0 where no idleness was metered."""
    is_measured: bool


ASSUMED = Capacity(devices=1.0, idle_w=0.0, is_measured=False)
"""For the default zone, until a worker has been seen."""


def measured(connection: Connection, settings: Settings, now: datetime) -> Mapping[str, Capacity]:
    """By zone. A zone in which no worker was seen within a day is not there, but for the default one."""
    found = {}
    for zone in settings.all_zones:
        seen = windows.workers(connection, zone, since=now - REMEMBERED)
        newest = max((worker.ended_at for worker in seen), default=now)
        devices = sum(worker.devices for worker in seen if worker.ended_at >= newest - SEEN)
        if devices > 0:
            idle_w = windows.idle_w(connection, zone, since=now - REMEMBERED)
            found[zone] = Capacity(devices=devices, idle_w=idle_w, is_measured=True)
    return {settings.all_zones[0]: ASSUMED, **found}
