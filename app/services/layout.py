"""What is open, what is known of the hours to come, and a plan of the one over the other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from sqlalchemy import Connection

from app.domain.admission import admit
from app.domain.batch import Schedule
from app.domain.deferral import Placement
from app.domain.intensity import HOUR
from app.domain.work import Demand, Work
from app.domain.workload import DEFAULT_WORKLOAD
from app.services.context import Context
from app.services.outlook import Kind, Outlook, look_ahead
from app.settings import Settings
from app.store import plans
from app.store.plans import OpenBatch, OpenShard

BYTES_PER_GB = 1e9


@dataclass(frozen=True, kw_only=True)
class Open:
    """Shards of an open batch that wait, or that run in one zone."""

    batch: OpenBatch
    shards: Sequence[OpenShard]
    runs_in: str | None
    """The zone in which they run already; None while they wait."""

    @cached_property
    def kinds(self) -> Mapping[Kind, int]:
        """How many requests of each kind the whole batch has: its shards are taken to be alike."""
        found = {
            Kind(tenant=self.batch.tenant_id, workload=entry["workload"], pinned_level=entry["pinned_level"]): entry[
                "requests"
            ]
            for entry in self.batch.composition
        }
        return found or {Kind(tenant=self.batch.tenant_id, workload=DEFAULT_WORKLOAD, pinned_level=None): 1}


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A part of a batch with its place in a layout."""

    part: Open
    placement: Placement
    promised: bool

    @property
    def may_wait(self) -> bool:
        """Whether its shards are held until their hour. Others are released at once: their hours are only expected."""
        is_patient = self.part.batch.schedule is Schedule.CARBON
        return is_patient and self.promised and self.placement.late_h == 0


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A plan: what was known, and where and when everything goes."""

    outlook: Outlook
    placed: Sequence[Placed]
    stranded: Sequence[Open]
    """What may run only in zones without workers: it waits for them, and takes nobody's room meanwhile."""


def read(settings: Settings, connection: Connection, *, lock: bool) -> Sequence[Open]:
    """The open batches: of each the shards that wait, and those that run, by zone.

    With `lock`, the batches cannot be moved before the transaction ends; those that are just being moved are left out.
    """
    home = settings.all_zones[0]
    found: dict[str, dict[str | None, list[OpenShard]]] = defaultdict(lambda: defaultdict(list))
    batches = plans.open_batches(connection, lock=lock)
    for shard in plans.open_shards(connection):
        found[shard.batch_id][(shard.zone or home) if shard.leased else None].append(shard)
    return [
        Open(batch=batch, shards=shards, runs_in=zone) for batch in batches for zone, shards in found[batch.id].items()
    ]


def by_model(found: Sequence[Open]) -> Mapping[str, Sequence[Open]]:
    """Each model is planned for itself: no worker runs the shards of another one's."""
    parts: dict[str, list[Open]] = defaultdict(list)
    for part in found:
        parts[part.batch.model].append(part)
    return parts


def look(context: Context, connection: Connection, model: str, found: Sequence[Open]) -> Outlook | None:
    """The outlook for these, all of one model; None while nothing of it is measured.

    Raises:
        InvalidInput: a stored figure cannot be used.
    """
    kinds = {kind for part in found for kind in part.kinds}
    return look_ahead(connection, context.settings, context.hardware, model, kinds, context.clock.now())


def lay_out(settings: Settings, outlook: Outlook, found: Sequence[Open]) -> Layout:
    """Plan these. What was promised to a batch is kept; the others are asked for anew each time.

    Raises:
        InvalidInput: a figure cannot be used.
    """
    reach = [[zone for zone in _wanted(settings, part) if zone in outlook.zones] for part in found]
    parts = [(part, zones) for part, zones in zip(found, reach, strict=True) if zones]
    works = [_work(settings, outlook, part, zones) for part, zones in parts]
    capacity = {zone: known.capacity.devices for zone, known in outlook.zones.items()}
    asked = [index for index, work in enumerate(works) if not work.promised]
    admission = admit(works, asked, capacity, outlook.starts_h)
    placed = [
        Placed(part=part, placement=placement, promised=promised)
        for (part, _), placement, promised in zip(parts, admission.placements, admission.promised, strict=True)
    ]
    stranded = [part for part, zones in zip(found, reach, strict=True) if not zones]
    return Layout(outlook=outlook, placed=placed, stranded=stranded)


def _wanted(settings: Settings, part: Open) -> Sequence[str]:
    return [part.runs_in] if part.runs_in else part.batch.zones or settings.all_zones[:1]


def _work(settings: Settings, outlook: Outlook, part: Open, zones: Sequence[str]) -> Work:
    """As the planner sees it. What runs already counts whole, at once, and stays where it is."""
    batch = part.batch
    gb = batch.bytes / BYTES_PER_GB / max(batch.total, 1)
    return Work(
        requests=np.array([shard.requests for shard in part.shards], dtype=np.int64),
        due_h=(batch.due_at - outlook.now) / HOUR,
        schedule=Schedule.ASAP if part.runs_in else batch.schedule,
        demand={zone: _demand(settings, outlook, zone, part, gb) for zone in zones},
        promised=batch.promised,
    )


def _demand(settings: Settings, outlook: Outlook, zone: str, part: Open, gb: float) -> Demand:
    use = outlook.mean_use(zone, part.kinds)
    moved_g = outlook.transfer_g(zone, settings.all_zones[0], settings.transfer_kwh_per_gb, gb)
    return Demand(device_s=use.device_s, cost_g=outlook.cost_g(zone, use) + moved_g, cleanest_s=use.cleanest_s)
