"""What a batch would emit and when it would end, before it is submitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from app.domain.batch import Schedule, parse_completion_window, parse_zones
from app.domain.directive import parse_level
from app.domain.errors import Conflict, InvalidInput
from app.domain.intensity import HOUR
from app.domain.workload import parse_workload
from app.services.batches import model_of
from app.services.context import Context
from app.services.layout import Open, by_model, lay_out, look, read
from app.services.outlook import Outlook
from app.services.plan_notes import note_of
from app.store.plans import OpenBatch, OpenShard

WINDOWS = tuple(timedelta(hours=hours) for hours in (1, 3, 6, 12, 24, 48, 96, 168))
"""Windows that are offered, up to the one that is asked for."""

MOST_REQUESTS = 100_000_000
MOST_SHARDS = 10_000
"""A batch of more shards is planned in coarser ones: over the hours they spread just as evenly."""

ASKED = "batch_asked"
"""Stands for the id that the batch does not have yet."""


@dataclass(frozen=True, kw_only=True)
class Option:
    """One way to run the batch."""

    schedule: Schedule
    window_h: float
    expected_end: str
    """The end of the last hour in which it runs, ISO 8601."""
    in_time: bool
    """Whether it would end in its window even at half the measured capacity."""
    footprint_g: float
    footprint_g_interval: tuple[float, float] | None
    """Nine of ten hours of earlier forecasts erred by less; None where too few were scored."""
    reason: str


@dataclass(frozen=True, kw_only=True)
class Quote:
    requests: int
    intensity_basis: str
    options: Sequence[Option]
    """At once, then waiting for cleaner hours, within ever longer windows."""


def quote(
    context: Context,
    tenant: str,
    *,
    requests: Mapping[str, int],
    completion_window: str,
    zones: str | None,
    level: str | None,
    size: int,
    model: str | None = None,
) -> Quote:
    """What a batch of so many requests per workload, from a file of `size` bytes whose lines name `model`, would
    emit beside the open batches; with the installation's own model where none is named.

    Raises:
        InvalidInput: a count, workload, window, zone or level cannot be used.
        Conflict: nothing is measured yet, or no worker is in these zones, so that nothing can be said.
    """
    settings = context.settings
    longest = parse_completion_window(completion_window)
    allowed = parse_zones(zones, settings.all_zones)
    pinned = None if level is None else parse_level(level, levels=settings.levels, param="level")
    _check(requests)
    name = model_of(settings, model)
    asked = _batch(context, tenant, name, requests, pinned, longest, allowed, size)
    with context.database.transaction() as connection:
        others = by_model(read(settings, connection, lock=False)).get(name, [])
        outlook = look(context, connection, name, [*others, asked])
    outlook = _usable(outlook, name, allowed or settings.all_zones[:1])
    windows = sorted({window for window in WINDOWS if window < longest} | {longest})
    plans = [(Schedule.ASAP, longest), *((Schedule.CARBON, window) for window in windows)]
    options = [
        _option(context, outlook, others, _scheduled(asked, schedule, window), schedule, window)
        for schedule, window in plans
    ]
    return Quote(requests=sum(requests.values()), intensity_basis=settings.basis, options=options)


def _usable(outlook: Outlook | None, model: str, zones: Sequence[str]) -> Outlook:
    if outlook is None:
        raise Conflict(
            f"No request of {model} was measured yet, so that nothing can be said of time and carbon: run a small "
            "batch first."
        )
    if not set(zones) & outlook.zones.keys():
        raise Conflict(f"No worker of {model} is seen in zone {' or '.join(zones)}: start one there.")
    return outlook


def _check(requests: Mapping[str, int]) -> None:
    for workload in requests:
        parse_workload(workload, param="requests")
    if not requests or min(requests.values()) < 1 or sum(requests.values()) > MOST_REQUESTS:
        raise InvalidInput(
            f"Say how many requests there are of each workload: 1 to {MOST_REQUESTS} in all.", param="requests"
        )


def _batch(
    context: Context,
    tenant: str,
    model: str,
    requests: Mapping[str, int],
    pinned_level: int | None,
    window: timedelta,
    zones: Sequence[str],
    size: int,
) -> Open:
    """As it would stand among the open batches, right after its admission."""
    now, total = context.clock.now(), sum(requests.values())
    batch = OpenBatch(
        id=ASKED,
        tenant_id=tenant,
        model=model,
        schedule=Schedule.CARBON,
        zones=zones,
        composition=[
            {"workload": workload, "pinned_level": pinned_level, "requests": number}
            for workload, number in requests.items()
        ],
        created_at=now,
        expires_at=now + window,
        bytes=size,
        total=total,
        promised=False,
    )
    per_shard = max(context.settings.shard_size, total // MOST_SHARDS)
    sizes = (min(per_shard, total - start) for start in range(0, total, per_shard))
    return Open(batch=batch, shards=[_shard(number, now) for number in sizes], runs_in=None)


def _shard(requests: int, now: datetime) -> OpenShard:
    return OpenShard(id=ASKED, batch_id=ASKED, zone="", requests=requests, leased=False, release_at=now, start_by=None)


def _scheduled(asked: Open, schedule: Schedule, window: timedelta) -> Open:
    batch = replace(asked.batch, schedule=schedule, expires_at=asked.batch.created_at + window)
    return replace(asked, batch=batch)


def _option(
    context: Context, outlook: Outlook, others: Sequence[Open], asked: Open, schedule: Schedule, window: timedelta
) -> Option:
    layout = lay_out(context.settings, outlook, [*others, asked])
    note = note_of(context.settings, outlook, [layout.placed[-1]])
    return Option(
        schedule=schedule,
        window_h=window / HOUR,
        expected_end=note.expected_end,
        in_time=note.in_time,
        footprint_g=note.footprint_g,
        footprint_g_interval=note.footprint_g_interval,
        reason=note.reason,
    )
