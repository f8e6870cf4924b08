"""Moving batch work in time and place: in which hour, and in which zone, each shard is released.

The guarantee comes first. At half the measured capacity, earliest deadline first, all known work is laid as late as its
deadlines allow; where a shard then starts is its *latest start*. A shard may be released in any hour that begins at or
before its latest start. So whatever is still held at some moment could begin then, run at half the capacity, and meet
every deadline: a wrong forecast costs carbon, not deadlines.

Within that, each shard takes the cleanest hour that still has room at full capacity, those with the earliest latest
start first. The hours that a shard may take are a prefix of the horizon, so the sets are nested and taking the cheapest
free hour of the shortest prefix first is optimal where all work has the same costs (a laminar matroid; Edmonds, 1971).
Batches with other costs share the hours by the same rule, which then is a heuristic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.domain.batch import Schedule
from app.domain.errors import InvalidInput

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SAFE_SHARE = 0.5
"""Share of the measured capacity with which every deadline must be within reach."""

SHORTEST_MARGIN_H = 5 / 60
MARGIN_SHARE = 0.02
"""A deadline is planned for this share of its completion window earlier: shards that run are not interrupted."""

S_PER_H = 3600.0

ROUNDING = 1e-6
"""Requests: an hour that a shard fills exactly must take it."""


def margin_h(window_h: float) -> float:
    """How long before its deadline a batch is planned to end."""
    return max(SHORTEST_MARGIN_H, MARGIN_SHARE * window_h)


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What one request of a batch takes in a zone, by the hour of the horizon in which it runs (H)."""

    device_s: Floats
    """Expected under the directive mix of the hour: a dirty hour shortens answers."""
    cost_g: Floats
    """What the choice of the hour decides: the use above an idle machine's, and moving the request to the zone."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """The shards of a batch that have yet to run, N of them."""

    requests: Ints
    """By shard (N), in the order of lines."""
    due_h: float
    """Hours from now to the deadline, its margin taken off; negative once that has passed."""
    schedule: Schedule
    demand: Mapping[str, Demand]
    """By zone in which the batch may run; never empty."""

    def longest_s(self, zone: str) -> float:
        """Device-seconds of a request in the hour in which answers are longest: what deadlines are planned with."""
        return float(self.demand[zone].device_s.max())


@dataclass(frozen=True, kw_only=True)
class Placement:
    """What was planned for the shards of a batch, in their order (N)."""

    zone: Sequence[str]
    hour: Ints
    """Of the horizon."""
    start_by_h: Floats
    """Latest start, in hours from now; negative where it has passed."""
    late_h: float
    """By how much the batch would miss `due_h`, run at once at half the capacity, earliest deadline first; or 0."""


def plan(works: Sequence[Work], capacity: Mapping[str, float], starts_h: Floats) -> Sequence[Placement]:
    """A placement for each of `works`.

    `capacity` is by zone, in device-seconds per second: how many devices work there. `starts_h` (H) are the starts of
    the horizon's hours, from now: 0 for what is left of the present hour, then the full ones.

    Raises:
        InvalidInput: a batch may run nowhere, or a figure is not positive and finite.
    """
    for work in works:
        _check(work, capacity, len(starts_h))
    order = sorted(range(len(works)), key=lambda index: works[index].due_h)
    zones = _zones(works, order, capacity, starts_h)
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
            raise InvalidInput(f"A demand covers {len(device_s)} hours and the horizon has {hours}.")
        if not (np.isfinite(device_s).all() and np.isfinite(cost_g).all() and (device_s > 0).all()):
            raise InvalidInput("A request's time must be positive, and its cost finite, in every hour.")
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
        return np.asarray(self.work.requests[self.rows] * (self.work.longest_s(self.zone) / S_PER_H))


def _lay_latest(parts: Sequence[_Part], capacity: float) -> None:
    """Latest starts and lateness at the safe share of the capacity; `parts` are in the order of deadlines."""
    pace = SAFE_SHARE * capacity
    edge, done = np.inf, 0.0
    for part in reversed(parts):
        hours = part.longest_h / pace
        end = min(edge, part.work.due_h)
        edge = end - float(hours.sum())
        part.found.start_by_h[part.rows] = edge + np.cumsum(hours) - hours
    for part in parts:
        done += float(part.longest_h.sum()) / pace
        part.found.late_h = max(part.found.late_h, done - part.work.due_h)


def _take_cleanest(parts: Sequence[_Part], capacity: float, starts_h: Floats) -> None:
    """Give every shard its hour: at once where the batch says so, else the cleanest that its latest start allows."""
    free = capacity * np.append(np.diff(starts_h), 1.0) * S_PER_H
    every = np.arange(len(starts_h))
    pieces: list[tuple[int, int, _Part, Ints, Ints]] = []
    for part in parts:
        if part.work.schedule is Schedule.ASAP:
            _fill(part, part.rows, every, free)
            continue
        cheapest_first = np.argsort(part.work.demand[part.zone].cost_g, kind="stable")
        last = np.searchsorted(starts_h, part.found.start_by_h[part.rows], side="right") - 1
        for hour in np.unique(np.maximum(last, 0)):
            rows = part.rows[np.maximum(last, 0) == hour]
            pieces.append((int(hour), len(pieces), part, rows, cheapest_first[cheapest_first <= hour]))
    for _, _, part, rows, hours in sorted(pieces, key=lambda piece: piece[:2]):
        _fill(part, rows, hours, free)


def _fill(part: _Part, rows: Ints, hours: Ints, free: Floats) -> None:
    """Put `rows` into `hours`, in that order of preference; `free` has the device-seconds left in every hour."""
    device_s, upto = part.work.demand[part.zone].device_s, np.cumsum(part.work.requests[rows])
    placed, base = 0, 0.0
    for hour in hours:
        fits = int(np.searchsorted(upto, base + free[hour] / device_s[hour] + ROUNDING, side="right"))
        if fits > placed:
            part.found.hour[rows[placed:fits]] = hour
            free[hour] -= (upto[fits - 1] - base) * device_s[hour]
            placed, base = fits, float(upto[fits - 1])
        if placed == len(rows):
            return
    _overfill(part, rows[placed:], np.sort(hours), free)


def _overfill(part: _Part, rows: Ints, hours: Ints, free: Floats) -> None:
    """Start what fits into no hour as a whole where time is left, as early as can be: it runs over into the next."""
    work, device_s = part.work, part.work.demand[part.zone].device_s
    for index, row in enumerate(rows):
        open_hours = hours[free[hours] > 0]
        if not len(open_hours):
            part.found.hour[rows[index:]] = hours[0]
            return
        hour = open_hours[0]
        part.found.hour[row] = hour
        left = work.requests[row] * device_s[hour]
        for later in range(hour, len(free)):
            used = min(max(free[later], 0.0), left)
            free[later] -= used
            left -= used
            if left <= 0:
                break


def _zones(
    works: Sequence[Work], order: Sequence[int], capacity: Mapping[str, float], starts_h: Floats
) -> Sequence[NDArray[np.str_]]:
    """The zone of every shard: where the batch's cleanest hours have room, as far as the zone can meet its deadline."""
    ledger = _ZoneLedger(capacity, starts_h)
    found: list[NDArray[np.str_]] = [np.empty(0, np.str_)] * len(works)
    for index in order:
        work = works[index]
        counts = ledger.take(work)
        names, numbers = list(counts), np.array(list(counts.values()))
        middles = np.cumsum(work.requests) - work.requests / 2
        found[index] = np.array(names)[np.searchsorted(np.cumsum(numbers)[:-1], middles)]
    return found


class _ZoneLedger:
    """What is left of every zone's hours while batches choose, in the order of deadlines."""

    def __init__(self, capacity: Mapping[str, float], starts_h: Floats) -> None:
        hours = np.append(np.diff(starts_h), 1.0)
        self._capacity = capacity
        self._starts_h = starts_h
        self._free = {zone: devices * hours * S_PER_H for zone, devices in capacity.items()}
        self._due_s = dict.fromkeys(capacity, 0.0)

    def take(self, work: Work) -> Mapping[str, float]:
        """Requests of `work` by zone, and their room taken from the hours."""
        zones = [zone for zone in work.demand if zone in self._capacity]
        left = float(work.requests.sum())
        taken = dict.fromkeys(zones, 0.0)
        safe = {zone: self._safe_requests(work, zone) for zone in zones}
        for zone, hour in self._preferred(work, zones) if len(zones) > 1 else ():
            device_s = work.demand[zone].device_s[hour]
            number = min(left, safe[zone] - taken[zone], self._free[zone][hour] / device_s)
            if number > 0:
                self._free[zone][hour] -= number * device_s
                taken[zone] += number
                left -= number
            if left <= 0:
                break
        least_loaded = min(zones, key=lambda zone: self._due_s[zone] / self._capacity[zone])
        taken[least_loaded] += left
        for zone, number in taken.items():
            self._due_s[zone] += number * work.longest_s(zone)
        return taken

    def _safe_requests(self, work: Work, zone: str) -> float:
        """How many more requests the zone could finish by the deadline at the safe share of its capacity."""
        reach_s = SAFE_SHARE * self._capacity[zone] * work.due_h * S_PER_H - self._due_s[zone]
        return max(reach_s, 0.0) / work.longest_s(zone)

    def _preferred(self, work: Work, zones: Sequence[str]) -> Sequence[tuple[str, int]]:
        hours = [hour for hour, start in enumerate(self._starts_h) if hour == 0 or start < work.due_h]
        asap = work.schedule is Schedule.ASAP
        return sorted(
            ((zone, hour) for zone in zones for hour in hours),
            key=lambda pair: (pair[1] if asap else 0, work.demand[pair[0]].cost_g[pair[1]], pair[1]),
        )
