"""A batch's first plan held against what came of it: was it kept, and what did the forecast's errors cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from app.domain.batch import Schedule
from app.domain.errors import MixedBases
from app.domain.intensity import HOUR, one_basis
from app.domain.units import hour_of, kwh
from app.settings import Settings
from app.store import intensity, ledger
from app.store.batches import Batch
from app.store.ledger import HourTotal


@dataclass(frozen=True, kw_only=True)
class Hindsight:
    """Grams are of the requests that ran since the first plan, at the figures of their hours as they are known now."""

    schedule: Schedule
    planned_g: float
    """What the first plan expected of as many requests."""
    actual_g: float
    share_as_planned: float
    """Share of the requests that ran in the hours, and zones, of the first plan."""
    at_once_g: float | None
    """What they would have emitted from the first plan on without waiting, with the energy that they took; None where
    the figure of an hour is missing, as below."""
    cleanest_g: float | None
    """The least that was possible, had the figures been known: in the window's cleanest hours, at full capacity."""
    intensity_basis: str


def look_back(connection: Connection, settings: Settings, batch: Batch) -> Hindsight | None:
    """None for a batch that was never planned, of which nothing ran yet, or whose figures have several bases."""
    first = batch.first_plan
    if not first:
        return None
    hours = ledger.by_hour(connection, batch.id, since=datetime.fromisoformat(first["planned_at"]))
    if not hours:
        return None
    try:
        basis = one_basis([first["intensity_basis"], *(hour.intensity_basis for hour in hours)])
    except MixedBases:
        return None
    ran = sum(hour.requests for hour in hours)
    home, allowed = settings.all_zones[0], batch.zones or settings.all_zones[:1]
    known = _figures(connection, {home, *allowed}, batch, basis)
    drawn_kwh = kwh(sum(hour.drawn_j for hour in hours)) / ran
    embodied_g = sum(hour.embodied_g for hour in hours) / ran

    def emitted(placed: Mapping[tuple[str, datetime], float]) -> float | None:
        if not placed or any(key not in known for key in placed):
            return None
        return sum(number * (drawn_kwh * known[key] + embodied_g) for key, number in placed.items())

    return Hindsight(
        schedule=batch.schedule,
        planned_g=first["footprint_g"] * ran / first["requests"],
        actual_g=sum(hour.operational_g + hour.embodied_g for hour in hours),
        share_as_planned=_overlap(_placed(first["hours"], ran), hours, ran),
        at_once_g=emitted(_placed(first["at_once"], ran)),
        cleanest_g=emitted(_cleanest({key: known[key] for key in known if key[0] in allowed}, first, batch, ran)),
        intensity_basis=basis,
    )


def _placed(hours: Sequence[Mapping[str, Any]], ran: int) -> Mapping[tuple[str, datetime], float]:
    """Planned hours, scaled to the requests that ran."""
    total = sum(hour["requests"] for hour in hours)
    found: dict[tuple[str, datetime], float] = defaultdict(float)
    for hour in hours:
        found[hour["zone"], hour_of(datetime.fromisoformat(hour["start"]))] += hour["requests"] * ran / total
    return found


def _overlap(planned: Mapping[tuple[str, datetime], float], hours: Sequence[HourTotal], ran: int) -> float:
    return sum(min(planned.get((hour.zone, hour.start), 0.0), hour.requests) for hour in hours) / ran


def _figures(
    connection: Connection, zones: Iterable[str], batch: Batch, basis: str
) -> Mapping[tuple[str, datetime], float]:
    """What is known by now of every hour in which the batch could have run."""
    start = hour_of(batch.in_progress_at or batch.created_at)
    return {
        (zone, point.start): point.intensity_g_per_kwh
        for zone in zones
        for point in intensity.between(connection, zone, basis, start, batch.expires_at)
    }


def _cleanest(
    known: Mapping[tuple[str, datetime], float], first: Mapping[str, Any], batch: Batch, ran: int
) -> Mapping[tuple[str, datetime], float]:
    """The cleanest hours from the first plan on, each as full as the default zone's capacity allows."""
    planned_at = datetime.fromisoformat(first["planned_at"])
    left = float(ran)
    found: dict[tuple[str, datetime], float] = {}
    for key in sorted(known, key=lambda key: (known[key], key[1])):
        length = (min(key[1] + HOUR, batch.expires_at) - max(key[1], planned_at)) / HOUR
        if length > 0 and left > 0:
            found[key] = min(left, first["requests_per_h"] * length)
            left -= found[key]
    if left > 0 and found:
        found[max(found, key=lambda key: known[key])] += left
    return found
