"""Which models the workers serve, and how much they can do in each zone: measured from their windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from app.services.context import Context
from app.settings import Settings
from app.store import batches, deployments, windows

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
"""In the default zone with the installation's own model, until a worker has been seen."""


def served(connection: Connection, settings: Settings, now: datetime) -> Sequence[str]:
    """The models of the workers that are seen, by name."""
    return windows.models(connection, since=now - SEEN * settings.clock_speed)


def known(connection: Connection, settings: Settings) -> frozenset[str]:
    """The installation's own model and every one that a worker has loaded, whether or not it is there now."""
    return frozenset((settings.home_model, *deployments.models(connection)))


def offered(context: Context) -> Sequence[str]:
    """The models that clients are shown: the installation's own first, then the others that are served."""
    settings = context.settings
    with context.database.transaction() as connection:
        others = set(served(connection, settings, context.clock.now())) - {settings.home_model}
    return [settings.home_model, *sorted(others)]


def models(connection: Connection, settings: Settings, now: datetime) -> Sequence[str]:
    """The models that matter now: the installation's own first, then those of open batches and of the past day's
    workers."""
    others = {*batches.open_models(connection), *windows.models(connection, since=now - REMEMBERED)}
    return [settings.home_model, *sorted(others - {settings.home_model})]


def measured(connection: Connection, settings: Settings, now: datetime, model: str) -> Mapping[str, Capacity]:
    """By zone in which workers of a model are seen, or were seen last. Elsewhere nothing would run what is planned
    there."""
    remembered = {zone: windows.workers(connection, zone, model, since=now - REMEMBERED) for zone in settings.all_zones}
    newest = {zone: max(worker.ended_at for worker in seen) for zone, seen in remembered.items() if seen}
    alive = SEEN * settings.clock_speed
    there = [zone for zone, ended_at in newest.items() if ended_at >= now - alive] or list(newest)
    found = {}
    for zone in there:
        devices = sum(worker.devices for worker in remembered[zone] if worker.ended_at >= newest[zone] - alive)
        if devices > 0:
            idle_w = windows.idle_w(connection, zone, model, since=now - REMEMBERED)
            found[zone] = Capacity(devices=devices, idle_w=idle_w, is_measured=True)
    return found or ({settings.all_zones[0]: ASSUMED} if model == settings.home_model else {})
