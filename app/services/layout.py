"""What is open, what is known of the hours to come, and a plan of the one over the other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from sqlalchemy import Connection

from app.domain.batch import Schedule
from app.domain.deferral import Demand, Placement, Work, margin_h, plan
from app.domain.intensity import HOUR
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
class Layout:
    """A plan: what was known, what was to be placed, and where and when it goes."""

    outlook: Outlook
    open: Sequence[Open]
    placements: Sequence[Placement]


def may_wait(batch: OpenBatch, placement: Placement) -> bool:
    """Whether its shards are held until their hour. Others are released at once: their hours are only expected."""
    return batch.schedule is Schedule.CARBON and placement.late_h == 0


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


def look(context: Context, connection: Connection, found: Sequence[Open]) -> Outlook | None:
    """The outlook for these; None while nothing is measured.

    Raises:
        InvalidInput: a stored figure cannot be used.
    """
    kinds = {kind for part in found for kind in part.kinds}
    return look_ahead(connection, context.settings, context.hardware, kinds, context.clock.now())


def lay_out(settings: Settings, outlook: Outlook, found: Sequence[Open]) -> Layout:
    """Raises InvalidInput."""
    works = [_work(settings, outlook, part) for part in found]
    capacity = {zone: known.capacity.devices for zone, known in outlook.zones.items()}
    return Layout(outlook=outlook, open=found, placements=plan(works, capacity, outlook.starts_h))


def _work(settings: Settings, outlook: Outlook, part: Open) -> Work:
    """As the planner sees it. What runs already counts whole, at once, and stays where it is."""
    batch, home = part.batch, settings.all_zones[0]
    wanted = [part.runs_in] if part.runs_in else batch.zones or [home]
    margin = margin_h((batch.expires_at - batch.created_at) / HOUR)
    gb = batch.bytes / BYTES_PER_GB / max(batch.total, 1)
    return Work(
        requests=np.array([shard.requests for shard in part.shards], dtype=np.int64),
        due_h=(batch.expires_at - outlook.now) / HOUR - margin,
        schedule=Schedule.ASAP if part.runs_in else batch.schedule,
        demand={
            zone: _demand(settings, outlook, zone, part, gb)
            # Without workers in any of its zones a batch waits for them there, laid out at home's pace.
            for zone in [zone for zone in wanted if zone in outlook.zones] or [home]
        },
    )


def _demand(settings: Settings, outlook: Outlook, zone: str, part: Open, gb: float) -> Demand:
    use = outlook.mean_use(zone, part.kinds)
    moved_g = outlook.transfer_g(zone, settings.all_zones[0], settings.transfer_kwh_per_gb, gb)
    return Demand(device_s=use.device_s, cost_g=outlook.cost_g(zone, use) + moved_g, cleanest_s=use.cleanest_s)
