"""What a batch says of its plan: until when it waits and why, when it ends, and what it is expected to emit.

The newest note is the batch's `plan`; the first is kept as its `first_plan`, to be held against what came of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from sqlalchemy import Connection

from app.domain.batch import Schedule
from app.domain.intensity import HOUR
from app.domain.work import lengths_h
from app.services.layout import Layout, Open, Placed
from app.services.outlook import Outlook
from app.settings import Settings
from app.store import plans

LATEST_H = 876_000.0
"""A century: a batch that would end later still can have no date."""

UNMEASURED = (
    "No request of this model was measured yet, so that nothing can be said of the time this batch takes: it runs at "
    "once, whatever its schedule. Once some requests are measured, what is left of it is planned."
)


@dataclass(frozen=True, kw_only=True)
class PlannedHour:
    """What a batch runs in one zone within one hour."""

    start: str
    """ISO 8601; now, for what is left of the present hour."""
    zone: str
    requests: int
    intensity_g_per_kwh: float
    footprint_g: float


@dataclass(frozen=True, kw_only=True)
class Note:
    planned_at: str
    held: int
    """Requests that wait for a later hour."""
    waiting_until: str | None
    """When the first of these are released, if nothing else runs before."""
    expected_end: str
    """The end of the last planned hour."""
    promised: bool
    """Whether its deadline is kept: then no batch that comes later may endanger it."""
    in_time: bool
    """Whether that is still safe: at half the measured capacity it would end a margin before its window closes."""
    reason: str
    waits_for_worker: bool
    """Whether no worker that may run it is seen."""
    requests: int
    """What is left: all figures are of these."""
    footprint_g: float
    """Expected: operational and embodied."""
    footprint_g_interval: tuple[float, float] | None
    """As far as the forecast's errors of the past 35 days tell, in nine of ten hours; None where too few are known."""
    at_once_g: float
    """Expected if all of it ran from now on in the default zone (or its first, where no worker is in that)."""
    intensity_basis: str
    requests_per_h: float
    """How many such requests the default zone runs in an hour, if it runs nothing else."""
    hours: Sequence[PlannedHour]
    at_once: Sequence[PlannedHour]


def unserved(settings: Settings, model: str, served: Sequence[str]) -> str | None:
    """Why the batches of a model wait while workers are seen of the models `served`; None if it is among these."""
    if model in served:
        return None
    if not served and model == settings.home_model:
        return f"No worker that serves {model} is seen yet; one that starts loads the model first. It starts by itself."
    seen = f"those that are seen serve {', '.join(served)}" if served else "none is seen at all"
    return (
        f"No worker serves the model {model}; {seen}. It starts by itself once there is one: start a worker with "
        f"SPROUT_MODEL={model}, or cancel the batch."
    )


def put_unmeasured(connection: Connection, found: Sequence[Open], now: datetime, unserved: str | None) -> None:
    """Only why there is no plan."""
    note = {
        "planned_at": now.isoformat(),
        "held": 0,
        "waiting_until": None,
        "reason": unserved or UNMEASURED,
        "waits_for_worker": unserved is not None,
    }
    plans.note(connection, {part.batch.id: note for part in found}, first=False)


def put(connection: Connection, settings: Settings, layout: Layout, unserved: str | None) -> None:
    """A note for each batch of the layout; `unserved` says why all of them wait, if no worker serves their model."""
    parts: dict[str, list[Placed]] = defaultdict(list)
    for placed in layout.placed:
        parts[placed.part.batch.id].append(placed)
    found = {batch_id: note_of(settings, layout.outlook, own) for batch_id, own in parts.items()}
    if unserved:
        found = {key: replace(note, reason=unserved, waits_for_worker=True) for key, note in found.items()}
    notes = {batch_id: asdict(note) for batch_id, note in found.items()}
    plans.note(connection, notes, first=True)
    waiting = {part.batch.id: _stranded(settings, layout.outlook, part, unserved) for part in layout.stranded}
    plans.note(connection, {key: note for key, note in waiting.items() if key not in notes}, first=False)


def _stranded(settings: Settings, outlook: Outlook, part: Open, unserved: str | None) -> Mapping[str, Any]:
    """Of a batch whose zones have no workers: what it was promised stands, once they are back."""
    zones = " or ".join(part.batch.zones or settings.all_zones[:1])
    return {
        "planned_at": outlook.now.isoformat(),
        "held": 0,
        "waiting_until": None,
        "promised": part.batch.promised,
        "in_time": False,
        "reason": unserved
        or f"No worker of {part.batch.model} is seen in zone {zones}: it waits for one, and runs nowhere else.",
        "waits_for_worker": True,
    }


def note_of(settings: Settings, outlook: Outlook, parts: Sequence[Placed]) -> Note:
    """`parts` are those of one batch."""
    part = parts[0].part
    hours, held = planned_hours(outlook, parts), _held(outlook, parts)
    left, waiting = (sum(hour.requests for hour in each) for each in (hours, held))
    home = settings.all_zones[0] if settings.all_zones[0] in outlook.zones else hours[0].zone
    at_once = run_at_once(outlook, home, part, left)
    late_h = max(placed.placement.late_h for placed in parts)
    last = max(int(placed.placement.hour.max()) for placed in parts)
    promised = all(placed.promised for placed in parts)
    return Note(
        planned_at=outlook.now.isoformat(),
        held=waiting,
        waiting_until=held[0].start if held and waiting == left else None,
        expected_end=outlook.end(last).isoformat(),
        promised=promised,
        in_time=promised and late_h <= 0,
        reason=_reason(outlook, part, hours, late_h, promised=promised),
        waits_for_worker=False,
        requests=left,
        footprint_g=sum(hour.footprint_g for hour in hours),
        footprint_g_interval=interval(outlook, part, parts),
        at_once_g=sum(hour.footprint_g for hour in at_once),
        intensity_basis=settings.basis,
        requests_per_h=_requests_per_h(outlook, home, part),
        hours=hours,
        at_once=at_once,
    )


def _held(outlook: Outlook, parts: Sequence[Placed]) -> Sequence[PlannedHour]:
    """The later hours of what waits. What runs already may run on into them, and does not wait."""
    waiting = [placed for placed in parts if placed.part.runs_in is None]
    if not all(placed.may_wait for placed in waiting):
        return []
    hours = planned_hours(outlook, waiting) if waiting else []
    return [hour for hour in hours if hour.start != outlook.now.isoformat()]


def planned_hours(outlook: Outlook, parts: Sequence[Placed]) -> Sequence[PlannedHour]:
    """Ascending; one per zone and hour in which something runs."""
    requests: dict[tuple[int, str], int] = defaultdict(int)
    for placed in parts:
        for shard, zone, hour in zip(placed.part.shards, placed.placement.zone, placed.placement.hour, strict=True):
            requests[int(hour), zone] += shard.requests
    kinds = parts[0].part.kinds
    grams = {zone: outlook.footprint_g(zone, outlook.mean_use(zone, kinds)) for zone in {zone for _, zone in requests}}
    return [
        PlannedHour(
            start=outlook.starts[hour].isoformat(),
            zone=zone,
            requests=number,
            intensity_g_per_kwh=float(outlook.zones[zone].intensity_g_per_kwh[hour]),
            footprint_g=float(number * grams[zone][hour]),
        )
        for (hour, zone), number in sorted(requests.items())
    ]


def run_at_once(outlook: Outlook, home: str, part: Open, requests: int) -> Sequence[PlannedHour]:
    """The hours in which that many requests would run from now on, if the default zone ran nothing else."""
    use = outlook.mean_use(home, part.kinds)
    room = outlook.zones[home].capacity.devices * lengths_h(outlook.starts_h) * HOUR.total_seconds() / use.device_s
    upto = np.minimum(np.cumsum(room), requests)
    upto[-1] = requests
    numbers = np.diff(np.rint(upto), prepend=0.0)
    grams = outlook.footprint_g(home, use)
    return [
        PlannedHour(
            start=outlook.starts[hour].isoformat(),
            zone=home,
            requests=int(numbers[hour]),
            intensity_g_per_kwh=float(outlook.zones[home].intensity_g_per_kwh[hour]),
            footprint_g=float(numbers[hour] * grams[hour]),
        )
        for hour in np.flatnonzero(numbers)
    ]


def interval(outlook: Outlook, part: Open, parts: Sequence[Placed]) -> tuple[float, float] | None:
    """Footprint if every hour came out as far below, or above, its forecast as nine of ten do at most.

    Hours are taken to err together, so that nothing is hoped from their mean.
    """
    low = high = 0.0
    for placed in parts:
        placement = placed.placement
        requests = np.array([shard.requests for shard in placed.part.shards], dtype=float)
        for zone in set(placement.zone):
            rows = np.array([name == zone for name in placement.zone])
            hours = placement.hour[rows]
            use = outlook.mean_use(zone, part.kinds)
            grams, error = outlook.footprint_g(zone, use)[hours], outlook.zones[zone].error_90[hours]
            if np.isnan(error).any():
                return None
            swing = (grams - use.device_s[hours] * outlook.hardware.embodied_g_per_device_s) * error
            low += float(requests[rows] @ (grams - np.minimum(swing, grams)))
            high += float(requests[rows] @ (grams + swing))
    return low, high


def _requests_per_h(outlook: Outlook, home: str, part: Open) -> float:
    device_s = float(np.mean(outlook.mean_use(home, part.kinds).device_s))
    return outlook.zones[home].capacity.devices * HOUR.total_seconds() / device_s


def _reason(outlook: Outlook, part: Open, hours: Sequence[PlannedHour], late_h: float, *, promised: bool) -> str:
    batch = part.batch
    if late_h > 0 or not promised:
        margin = batch.expires_at - batch.due_at
        end = batch.due_at + timedelta(hours=min(late_h, LATEST_H))
        return (
            "At half the measured capacity, and after what is promised to others, this batch would end at "
            f"{_time(end)}; its completion window closes at {_time(batch.expires_at)}, and the last "
            f"{margin.total_seconds() / 60:.0f} min of it are kept free. It runs at once and may expire unfinished: "
            "give it a longer window, or add workers."
        )
    first, now_g = hours[0], float(outlook.zones[hours[0].zone].intensity_g_per_kwh[0])
    if batch.schedule is Schedule.ASAP:
        return "It runs as soon as there is room."
    if first.start == outlook.now.isoformat():
        return "Some of it runs now: later hours are not cleaner, have no room, or would put a deadline at risk."
    return (
        f"It waits until {_time(datetime.fromisoformat(first.start))} in zone {first.zone}: "
        f"{first.intensity_g_per_kwh:.0f} gCO2eq/kWh are expected then, {now_g:.0f} now."
    )


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
