"""Which zone each shard goes to: where it costs least, as far as every promise stays within reach there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from app.domain.arrays import Floats
from app.domain.batch import Schedule
from app.domain.work import ROUNDING, S_PER_H, SAFE_SHARE, Work, lengths_h


def choose_zones(
    works: Sequence[Work], order: Sequence[int], capacity: Mapping[str, float], starts_h: Floats
) -> Mapping[int, NDArray[np.str_]]:
    """The zone of every shard. Who has the least choice, or runs at once, is seen to first: others go where room is.

    Where deadlines are not kept like that, of those with as much choice who is due first is seen to first: then later
    work cannot take the room of earlier work in all zones.
    """
    choices = [len(work.demand.keys() & capacity.keys()) for work in works]
    by_haste = sorted(order, key=lambda index: (choices[index], works[index].schedule is not Schedule.ASAP))
    zones, kept = _in_turn(works, order, by_haste, capacity, starts_h)
    if not kept and (by_deadline := sorted(order, key=lambda index: choices[index])) != by_haste:
        others, kept = _in_turn(works, order, by_deadline, capacity, starts_h)
        zones = others if kept else zones
    return zones


def _in_turn(
    works: Sequence[Work], order: Sequence[int], turns: Sequence[int], capacity: Mapping[str, float], starts_h: Floats
) -> tuple[Mapping[int, NDArray[np.str_]], bool]:
    """And whether all deadlines are kept."""
    ledger = _ZoneLedger(capacity, starts_h, np.array([works[index].bound_h for index in order]))
    rank = {index: place for place, index in enumerate(order)}
    zones = {index: ledger.take(works[index], rank[index]) for index in turns}
    return zones, ledger.in_time


class _ZoneLedger:
    """What is left of every zone's hours while batches choose, each with the rank of its deadline."""

    def __init__(self, capacity: Mapping[str, float], starts_h: Floats, due_h: Floats) -> None:
        hours = lengths_h(starts_h)
        self._capacity = capacity
        self._starts_h = starts_h
        self._free = {zone: devices * hours * S_PER_H for zone, devices in capacity.items()}
        self._due_h = due_h
        self._due_s = {zone: np.zeros(len(due_h)) for zone in capacity}

    @property
    def in_time(self) -> bool:
        paces = {zone: SAFE_SHARE * devices * S_PER_H for zone, devices in self._capacity.items()}
        return all((self._due_s[zone] <= pace * (self._due_h + ROUNDING)).all() for zone, pace in paces.items())

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
        if work.promised:  # in hours that others would rather have
            for zone in sorted(zones, key=lambda zone: busy_s[zone] / self._capacity[zone]):
                number = min(left, max(float(reach[zone][0]), 0.0))
                taken[zone] += number
                busy_s[zone] += number * work.demand[zone].longest_s
                left -= number
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
        reach_s = pace * (work.bound_h - self._starts_h)
        reach_s[0] = (pace * self._due_h - self._due_s[zone])[rank:].min()
        shards = np.floor(np.maximum(reach_s, 0.0) / (largest * work.demand[zone].longest_s) + ROUNDING)
        return np.asarray(shards * largest)

    def _preferred(self, work: Work, zones: Sequence[str]) -> Sequence[tuple[str, int]]:
        asap = work.schedule is Schedule.ASAP
        costs = [work.demand[zone].cost_g.tolist() for zone in zones]
        pairs = ((hour * asap, cost, hour, place) for place, own in enumerate(costs) for hour, cost in enumerate(own))
        return [(zones[place], hour) for *_, hour, place in sorted(pairs)]
