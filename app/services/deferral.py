"""Laying the open batches out over the hours to come, and over the zones in which they may run.

The plan is made anew every minute and whenever a batch is admitted or released, from what PostgreSQL holds: shards that
have not run, measured capacity, the forecast, and what requests take. It ends in each shard's zone, `release_at` and
latest start. A shard that waits is a row, never a message; while nobody plans, the last plan holds.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection

from app.domain.batch import BatchStatus
from app.domain.deferral import Placement
from app.domain.errors import Conflict, SproutError
from app.domain.intensity import HOUR
from app.domain.work import SAFE_SHARE
from app.services import capacity, plan_notes
from app.services.context import Context
from app.services.dispatch import ring_for_shards
from app.services.layout import Layout, Open, by_model, lay_out, look, read
from app.settings import Settings
from app.store import batches, plans
from app.store.plans import Planned

log = logging.getLogger(__name__)

SAME = timedelta(minutes=1)
"""A latest start that moved by less is not written again, and a release that is so near is left as it is."""

LONG_AGO_H = -8760.0
"""A start that should have been earlier than this is overdue all the same."""


def replan(context: Context) -> None:
    """Plan anew and ring for what is released now."""
    with context.database.transaction() as connection:
        plan_open(context, connection)
    ring_for_shards(context)


def plan_open(context: Context, connection: Connection) -> None:
    """Plan all open batches in the caller's transaction.

    A plan that cannot be made is no reason to stop: the last one holds, and what has none runs at once.
    """
    plans.claim(connection)
    found = read(context.settings, connection, lock=True)
    if not found:
        return
    served = capacity.served(connection, context.settings, context.clock.now())
    for model, parts in by_model(found).items():
        _plan(context, connection, model, parts, plan_notes.unserved(context.settings, model, served))


def _plan(context: Context, connection: Connection, model: str, found: Sequence[Open], unserved: str | None) -> None:
    try:
        outlook = look(context, connection, model, found)
        layout = lay_out(context.settings, outlook, found) if outlook else None
    except SproutError as exc:
        log.warning("batches of %s are not planned anew: %s", model, exc.message)
        return
    if layout is None:
        plan_notes.put_unmeasured(connection, found, context.clock.now(), unserved)
        return
    plans.place(connection, _changes(context.settings, layout), layout.outlook.now)
    plan_notes.put(connection, context.settings, layout, unserved)


def _changes(settings: Settings, layout: Layout) -> Sequence[Planned]:
    """The shards that wait and whose zone, release or latest start is another one than before."""
    now, starts = layout.outlook.now, layout.outlook.starts
    changed = []
    for placed in layout.placed:
        part, placement = placed.part, placed.placement
        if part.runs_in is not None:
            continue
        urgent = placed.promised and not _is_lost(part, placement, now)
        for shard, zone, hour, start_by_h in zip(
            part.shards, placement.zone, placement.hour, placement.start_by_h, strict=True
        ):
            place = settings.place_of(zone)
            if hour and placed.may_wait:
                release_at = starts[hour]
            else:  # what waits for a moment only, such as for an engine that was away, may go on to do so
                release_at = shard.release_at if shard.release_at <= now + SAME else now
            start_by = now + max(start_by_h, LONG_AGO_H) * HOUR if urgent else None
            if not _is_same(start_by, shard.start_by) or (place, release_at) != (shard.zone, shard.release_at):
                changed.append(Planned(id=shard.id, zone=place, release_at=release_at, start_by=start_by))
    return changed


def _is_same(one: datetime | None, other: datetime | None) -> bool:
    return one == other if one is None or other is None else abs(one - other) < SAME


def _is_lost(part: Open, placement: Placement, now: datetime) -> bool:
    """Whether it would miss its deadline even at the full capacity. Then it does not go first: that would not save it,
    and others would wait behind it for as long as it lasts."""
    due_h = (part.batch.expires_at - now) / HOUR
    return (due_h + placement.late_h) * SAFE_SHARE > due_h


def release(context: Context, tenant: str, batch_id: str) -> None:
    """Let a batch that waits for cleaner hours run at once.

    Raises:
        NotFound: no such batch.
        Conflict: it has already ended.
    """
    with context.database.transaction() as connection:
        status = batches.get(connection, tenant, batch_id).status
        if status not in (BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS):
            raise Conflict(f"Batch '{batch_id}' is {status}: there is nothing left to release.")
        plans.release(connection, batch_id, context.clock.now())
        plan_open(context, connection)
    ring_for_shards(context)
