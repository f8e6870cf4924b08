"""Moving batch work in time and place: in which hour, and in which zone, each shard is released.

The guarantee comes first. At half the measured capacity, earliest deadline first, all known work is laid as late as its
deadlines allow; where a shard then starts is its *latest start*. A shard may be released in any hour that begins at or
before its latest start. So whatever is still held at some moment could begin then, run at half the capacity, and meet
every deadline: a wrong forecast costs carbon, not deadlines.

Within that, each shard takes the cleanest hour that still has room for it at full capacity, those with the earliest
latest start first; one that fits into no hour whole begins where it costs least and runs over. The hours that a shard
may take are a prefix of the horizon, so the sets are nested and taking the cheapest free hour of the shortest prefix
first is optimal where all work has the same costs (a laminar matroid; Edmonds, 1971). Batches with other costs share
the hours by the same rule, which then is a heuristic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from app.domain.arrays import Floats, Ints
from app.domain.batch import Schedule
from app.domain.errors import InvalidInput
from app.domain.work import ROUNDING, S_PER_H, SAFE_SHARE, Work, lengths_h
from app.domain.zone_choice import choose_zones


@dataclass(frozen=True, kw_only=True)
class Placement:
    """What was planned for the shards of a batch, in their order (N)."""

    zone: Sequence[str]
    hour: Ints
    """Of the horizon."""
    start_by_h: Floats
    """Latest start, in hours from now; negative where it has passed, infinite where nothing is promised."""
    late_h: float
    """By how much the batch would miss `due_h`, run at once at half the capacity; or 0. Promises go first, and among
    them the earliest deadline."""


def plan(works: Sequence[Work], capacity: Mapping[str, float], starts_h: Floats) -> Sequence[Placement]:
    """A placement for each of `works`.

    `capacity` is by zone, in device-seconds per second: how many devices work there. `starts_h` (H) are the starts of
    the horizon's hours, from now: 0 for what is left of the present hour, then the full ones.

    Raises:
        InvalidInput: a batch may run nowhere, or a figure is not positive and finite.
    """
    for work in works:
        _check(work, capacity, len(starts_h))
    order = sorted(range(len(works)), key=lambda index: (works[index].bound_h, works[index].due_h))
    zones = choose_zones(works, order, capacity, starts_h)
    found = [
        _Open(hour=np.zeros(len(work.requests), np.int64), start_by_h=np.zeros(len(work.requests))) for work in works
    ]
    for zone in capacity:
        parts = [
            _Part(work=works[index], zone=zone, rows=rows, found=found[index])
            for index in order
            if len(rows := np.flatnonzero(zones[index] == zone))
        ]
        _lay_latest(parts, capacity[zone])
        _take_cleanest(parts, capacity[zone], starts_h)
    return [
        Placement(zone=zones[index].tolist(), hour=place.hour, start_by_h=place.start_by_h, late_h=place.late_h)
        for index, place in enumerate(found)
    ]


def _check(work: Work, capacity: Mapping[str, float], hours: int) -> None:
    usable = [zone for zone in work.demand if zone in capacity]
    if not usable:
        raise InvalidInput(f"No worker is in {' or '.join(work.demand) or 'any zone'}: start one there.")
    for zone in usable:
        device_s, cost_g = work.demand[zone].device_s, work.demand[zone].cost_g
        if device_s.shape != (hours,) or cost_g.shape != (hours,):
            raise InvalidInput(f"A demand covers {len(device_s)} and {len(cost_g)} hours, and the horizon has {hours}.")
        figures = np.hstack([work.due_h, work.demand[zone].longest_s, device_s, cost_g])
        if not (np.isfinite(figures).all() and (device_s > 0).all()):
            raise InvalidInput("A request's time must be positive, and its cost and deadline finite, in every hour.")
        if not 0 < capacity[zone] < np.inf:
            raise InvalidInput(f"A capacity of {capacity[zone]} devices in {zone} cannot be planned with.")


@dataclass(kw_only=True)
class _Open:
    """A placement in the making."""

    hour: Ints
    start_by_h: Floats
    late_h: float = 0.0


@dataclass(frozen=True, kw_only=True)
class _Part:
    """The shards of a batch that run in one zone."""

    work: Work
    zone: str
    rows: Ints
    found: _Open

    @property
    def longest_h(self) -> Floats:
        """Device-hours of each shard, as deadlines are planned with."""
        return np.asarray(self.work.requests[self.rows] * (self.work.demand[self.zone].longest_s / S_PER_H))


def _lay_latest(parts: Sequence[_Part], capacity: float) -> None:
    """Latest starts and lateness at the safe share of the capacity; `parts` are in the order of deadlines."""
    pace = SAFE_SHARE * capacity
    edge, done = np.inf, 0.0
    for part in reversed(parts):
        hours = part.longest_h / pace
        if not part.work.promised:
            part.found.start_by_h[part.rows] = np.inf
            continue
        edge = min(edge, part.work.due_h) - float(hours.sum())
        part.found.start_by_h[part.rows] = edge + np.cumsum(hours) - hours
    for part in parts:
        done += float(part.longest_h.sum()) / pace
        if done > part.work.due_h + ROUNDING:
            part.found.late_h = max(part.found.late_h, done - part.work.due_h)


def _take_cleanest(parts: Sequence[_Part], capacity: float, starts_h: Floats) -> None:
    """Give every shard its hour: the cleanest its latest start allows, or at once if the batch wants it or is late."""
    free = capacity * lengths_h(starts_h) * S_PER_H
    pieces: list[tuple[int, int, _Part, Ints, Ints]] = []
    for part in parts:
        last = np.searchsorted(starts_h, part.found.start_by_h[part.rows], side="right") - 1
        if part.work.schedule is Schedule.ASAP or part.found.late_h > 0 or not part.work.promised:
            last[last < 0] = len(starts_h) - 1
            part.found.hour[part.rows] = np.minimum(_run_over(part, part.rows, 0, free), last)
            continue
        cheapest_first = np.argsort(part.work.demand[part.zone].cost_g, kind="stable")
        for hour in np.unique(np.maximum(last, 0)):
            rows = part.rows[np.maximum(last, 0) == hour]
            pieces.append((int(hour), len(pieces), part, rows, cheapest_first[cheapest_first <= hour]))
    for _, _, part, rows, hours in sorted(pieces, key=lambda piece: piece[:2]):
        _fill(part, rows, hours, free)


def _fill(part: _Part, rows: Ints, hours: Ints, free: Floats) -> None:
    """Put `rows` into `hours`, in that order of preference; `free` has the device-seconds left in every hour."""
    while len(rows := rows[_fill_whole(part, rows, hours, free) :]):
        start = _cheapest_start(part, int(part.work.requests[rows[0]]), int(hours.max()), free)
        begun, hour = (rows, 0) if start is None else (rows[:1], start)  # all are full: waiting saves nothing
        part.found.hour[begun] = hour
        _run_over(part, begun, hour, free)
        rows = rows[len(begun) :]


def _fill_whole(part: _Part, rows: Ints, hours: Ints, free: Floats) -> int:
    """How many of `rows` were placed before one that no hour can take as a whole."""
    device_s, upto = part.work.demand[part.zone].device_s, np.cumsum(part.work.requests[rows])
    placed, base = 0, 0.0
    for hour in hours:
        if placed == len(rows):
            break
        fits = int(np.searchsorted(upto, base + free[hour] / device_s[hour] + ROUNDING, side="right"))
        if fits > placed:
            part.found.hour[rows[placed:fits]] = hour
            free[hour] -= (upto[fits - 1] - base) * device_s[hour]
            placed, base = fits, float(upto[fits - 1])
    return placed


def _cheapest_start(part: _Part, requests: int, last: int, free: Floats) -> int | None:
    """From which hour, `last` at the latest, they cost least if they run wherever time is left; None: all are full."""
    demand = part.work.demand[part.zone]
    room = np.maximum(free, 0.0) / demand.device_s
    open_hours = np.flatnonzero(room[: last + 1] > ROUNDING)
    if not len(open_hours):
        return None
    room[-1] += requests  # what the horizon cannot end goes on at the cost of its last hour
    done, cost_g = (np.append(0.0, np.cumsum(each)) for each in (room, room * demand.cost_g))
    from_here_g = np.interp(done[open_hours] + requests, done, cost_g) - cost_g[open_hours]
    return int(open_hours[np.argmax(from_here_g <= from_here_g.min() + ROUNDING * np.ptp(from_here_g))])


def _run_over(part: _Part, rows: Ints, hour: int, free: Floats) -> Ints:
    """The hours in which `rows` begin if they run in turn from `hour` on, wherever time is left; takes that time."""
    requests, device_s = part.work.requests[rows], part.work.demand[part.zone].device_s[hour:]
    room, upto = np.cumsum(np.maximum(free[hour:], 0.0) / device_s), np.cumsum(requests)
    free[hour:] -= device_s * np.diff(np.minimum(room, upto[-1]), prepend=0.0)
    return np.asarray(hour + np.searchsorted(room, upto - requests + ROUNDING, side="right"))
