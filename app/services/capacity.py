"""How much the workers of a zone can do: measured from their windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from app.settings import Settings
from app.store import windows

SEEN = timedelta(minutes=10)
"""A worker of which no window has come for longer is gone. Real time, in rehearsals too."""

REMEMBERED = timedelta(hours=24)
"""While no worker is seen anywhere, those that were there last count: they may be restarting."""


@dataclass(frozen=True, kw_only=True)
class Capacity:
    devices: float
    """Device-seconds per second."""
    idle_w: float
    """Watts of a device that does nothing; 0 where no idleness was metered."""
    is_measured: bool


ASSUMED = Capacity(devices=1.0, idle_w=0.0, is_measured=False)
"""In the default zone, until a worker has been seen."""


def measured(connection: Connection, settings: Settings, now: datetime) -> Mapping[str, Capacity]:
    """By zone in which workers are seen, or were seen last. Elsewhere nothing would run what is planned there."""
    remembered = {zone: windows.workers(connection, zone, since=now - REMEMBERED) for zone in settings.all_zones}
    newest = {zone: max(worker.ended_at for worker in seen) for zone, seen in remembered.items() if seen}
    alive = SEEN * settings.clock_speed
    there = [zone for zone, ended_at in newest.items() if ended_at >= now - alive] or list(newest)
    found = {}
    for zone in there:
        devices = sum(worker.devices for worker in remembered[zone] if worker.ended_at >= newest[zone] - alive)
        if devices > 0:
            idle_w = windows.idle_w(connection, zone, since=now - REMEMBERED)
            found[zone] = Capacity(devices=devices, idle_w=idle_w, is_measured=True)
    return found or {settings.all_zones[0]: ASSUMED}
