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
"""Requests: an hour that a shard fills exactly must take it. Hours: what ends exactly when it is due is not late."""


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
    cleanest_s: float = 0.0
    """Device-seconds in the cleanest hour that may come, where that is cleaner than any that is forecast."""

    @property
    def longest_s(self) -> float:
        """Device-seconds where answers are longest: what deadlines are planned with."""
        return max(float(self.device_s.max()), self.cleanest_s)


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
        end = min(edge, part.work.due_h)
        edge = end - float(hours.sum())
        part.found.start_by_h[part.rows] = edge + np.cumsum(hours) - hours
    for part in parts:
        done += float(part.longest_h.sum()) / pace
        if done > part.work.due_h + ROUNDING:
            part.found.late_h = max(part.found.late_h, done - part.work.due_h)


def _take_cleanest(parts: Sequence[_Part], capacity: float, starts_h: Floats) -> None:
    """Give every shard its hour: the cleanest its latest start allows, or at once if the batch wants it or is late."""
    free = capacity * np.append(np.diff(starts_h), 1.0) * S_PER_H
    pieces: list[tuple[int, int, _Part, Ints, Ints]] = []
    for part in parts:
        last = np.searchsorted(starts_h, part.found.start_by_h[part.rows], side="right") - 1
        if part.work.schedule is Schedule.ASAP or part.found.late_h > 0:
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


def _zones(
    works: Sequence[Work], order: Sequence[int], capacity: Mapping[str, float], starts_h: Floats
) -> Mapping[int, NDArray[np.str_]]:
    """The zone of every shard. Who has the least choice, or runs at once, is seen to first: others go where room is."""
    ledger = _ZoneLedger(capacity, starts_h, np.array([works[index].due_h for index in order]))
    choice = [(len(work.demand.keys() & capacity.keys()), work.schedule is not Schedule.ASAP) for work in works]
    ranked = sorted(enumerate(order), key=lambda entry: choice[entry[1]])
    return {index: ledger.take(works[index], rank) for rank, index in ranked}


class _ZoneLedger:
    """What is left of every zone's hours while batches choose, each with the rank of its deadline."""

    def __init__(self, capacity: Mapping[str, float], starts_h: Floats, due_h: Floats) -> None:
        hours = np.append(np.diff(starts_h), 1.0)
        self._capacity = capacity
        self._starts_h = starts_h
        self._free = {zone: devices * hours * S_PER_H for zone, devices in capacity.items()}
        self._due_h = due_h
        self._due_s = {zone: np.zeros(len(due_h)) for zone in capacity}

    def take(self, work: Work, rank: int) -> NDArray[np.str_]:
        """Zones for its shards: where its cleanest hours have room, as far as all deadlines stay within reach there."""
        zones = [zone for zone in work.demand if zone in self._capacity]
        left, largest = float(work.requests.sum()), float(work.requests.max(initial=1))
        taken = dict.fromkeys(zones, 0.0)
        reach = {zone: self._reach(work, zone, rank, largest) for zone in zones}
        for zone, hour in self._preferred(work, zones) if len(self._capacity) > 1 else ():
            device_s = work.demand[zone].device_s[hour]
            number = min(left, self._free[zone][hour] / device_s)
            if number > 0 and (number := min(number, reach[zone][: hour + 1].min())) > 0:
                self._free[zone][hour] -= number * device_s
                reach[zone][: hour + 1] -= number
                taken[zone] += number
                left -= number
            if left <= 0:
                break
        busy_s = {zone: self._due_s[zone][rank] + taken[zone] * work.demand[zone].longest_s for zone in zones}
        while left > 0:  # out of reach everywhere: where least is due by then
            zone = min(zones, key=lambda zone: busy_s[zone] / self._capacity[zone])
            number = min(left, largest) if len(zones) > 1 else left
            taken[zone] += number
            busy_s[zone] += number * work.demand[zone].longest_s
            left -= number
        middles = np.cumsum(work.requests) - work.requests / 2
        found = np.array(zones)[np.searchsorted(np.cumsum(list(taken.values()))[:-1], middles)]
        for zone in zones:
            self._due_s[zone][rank:] += work.requests[found == zone].sum() * work.demand[zone].longest_s
        return found

    def _reach(self, work: Work, zone: str, rank: int, largest: float) -> Floats:
        """How many requests the zone could begin in each hour or later (H) and keep every deadline safely."""
        pace = SAFE_SHARE * self._capacity[zone] * S_PER_H
        reach_s = pace * (work.due_h - self._starts_h)
        reach_s[0] = (pace * self._due_h - self._due_s[zone])[rank:].min()
        shards = np.floor(np.maximum(reach_s, 0.0) / (largest * work.demand[zone].longest_s) + ROUNDING)
        return np.asarray(shards * largest)

    def _preferred(self, work: Work, zones: Sequence[str]) -> Sequence[tuple[str, int]]:
        asap = work.schedule is Schedule.ASAP
        costs = [work.demand[zone].cost_g.tolist() for zone in zones]
        pairs = ((hour * asap, cost, hour, place) for place, own in enumerate(costs) for hour, cost in enumerate(own))
        return [(zones[place], hour) for *_, hour, place in sorted(pairs)]
