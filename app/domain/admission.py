"""Which deadlines can be promised: a batch that comes later must not break a promise that was given."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from app.domain.arrays import Floats, Ints
from app.domain.deferral import Placement, plan
from app.domain.work import ROUNDING, S_PER_H, SAFE_SHARE, Work

MOST_TRIALS = 12
"""Plans that are tried to find out who can be promised; who has not been tried by then is asked for again later."""


@dataclass(frozen=True, kw_only=True)
class Admission:
    """Works that were planned, and what they were promised."""

    placements: Sequence[Placement]
    promised: Sequence[bool]


def admit(works: Sequence[Work], asked: Iterable[int], capacity: Mapping[str, float], starts_h: Floats) -> Admission:
    """Plan `works`, and promise the deadlines of those that are `asked` for, by index, as far as that is safe.

    A deadline is promised if it is within reach at half the capacity, together with all that is promised already, and
    nothing of that becomes late, or later, for it. What is not promised is planned to run at once, with the room that
    promises leave. Of several that ask at once, those that are due first are seen to first; one that is refused is in
    nobody's way.

    Raises:
        InvalidInput: see `plan`.
    """
    trials = _Trials(works=works, asked=frozenset(asked), capacity=capacity, starts_h=starts_h)
    trials.grow(sorted(trials.asked, key=lambda index: works[index].due_h))
    return trials.best


@dataclass(kw_only=True)
class _Trials:
    """Plans that are tried, and the best so far: that with most promises of those that break none."""

    works: Sequence[Work]
    asked: frozenset[int]
    capacity: Mapping[str, float]
    starts_h: Floats
    best: Admission = field(init=False)
    _late_h: Sequence[float] = field(init=False)
    """Of each where none of those that are asked for is promised: with fewer machines than when a promise was given, it
    may be late whoever is refused."""
    _left: int = MOST_TRIALS

    def __post_init__(self) -> None:
        self.best = self._planned(frozenset())
        self._late_h = [placement.late_h for placement in self.best.placements]

    def grow(self, everyone: Sequence[int]) -> None:
        """Promise those that can be: all, or those that are not out of reach, or halves of them in turn.

        Halves are tried when all that is larger has been, so that a few that cannot be do not use up all trials.
        """
        groups = deque([list(everyone)])
        while groups and self._left > 0:
            group = groups.popleft()
            if not group or self._try(group):
                continue
            possible = _within_reach(self.works, self._kept, group, self.capacity)
            if possible != group:
                groups.appendleft(possible)
            elif len(group) > 1:
                middle = len(group) // 2
                groups += group[:middle], group[middle:]

    @property
    def _kept(self) -> frozenset[int]:
        return frozenset(index for index, promised in enumerate(self.best.promised) if promised)

    def _try(self, group: Sequence[int]) -> bool:
        self._left -= 1
        kept = self._kept.union(group)
        found = self._planned(kept & self.asked)
        safe = all(
            found.placements[index].late_h <= (0 if index in self.asked else self._late_h[index] + ROUNDING)
            for index in kept
        )
        if safe:
            self.best = found
        return safe

    def _planned(self, hoped: frozenset[int]) -> Admission:
        promised = [index in hoped if index in self.asked else work.promised for index, work in enumerate(self.works)]
        given = [replace(work, promised=kept) for work, kept in zip(self.works, promised, strict=True)]
        return Admission(placements=plan(given, self.capacity, self.starts_h), promised=promised)


def _within_reach(
    works: Sequence[Work], kept: frozenset[int], group: Sequence[int], capacity: Mapping[str, float]
) -> list[int]:
    """Those of `group` that are not out of reach beside those that are kept and those before them.

    With one zone that is exact. With several it hopes: each zone is asked only for what can run nowhere else, and all
    together for everything, as if work could be divided.
    """
    order = np.array(sorted(range(len(works)), key=lambda index: works[index].due_h), dtype=np.int64)
    zones = [frozenset(work.demand.keys() & capacity.keys()) for work in works]
    rooms = [
        _Room(works, order[[zones[index] <= among for index in order]], kept, capacity, among)
        for among in {frozenset([zone]) for zone in capacity} | {frozenset(capacity)}
    ]
    found = []
    for index in group:
        if all(room.has_room(index) for room in rooms):
            found.append(index)
            for room in rooms:
                room.take(index)
    return found


class _Room:
    """What some zones can do by each deadline of the works that run nowhere else."""

    def __init__(
        self,
        works: Sequence[Work],
        order: Ints,
        kept: frozenset[int],
        capacity: Mapping[str, float],
        zones: frozenset[str],
    ) -> None:
        pace = SAFE_SHARE * sum(capacity[zone] for zone in zones)
        self._place = {int(index): place for place, index in enumerate(order)}
        self._due_h = np.array([works[index].due_h for index in order])
        self._takes_h = np.array([_least_s(works[index], zones) / S_PER_H / pace for index in order])
        self._counts = np.array([int(index) in kept for index in order], dtype=bool)
        self._late_h = self._late(self._counts)

    def has_room(self, index: int) -> bool:
        """Whether it could be promised too, and nobody that counts were later for it."""
        if (place := self._place.get(index)) is None:
            return True
        counts = self._counts.copy()
        counts[place] = True
        return bool((self._late(counts) <= self._late_h + ROUNDING).all())

    def take(self, index: int) -> None:
        if (place := self._place.get(index)) is not None:
            self._counts[place] = True

    def _late(self, counts: NDArray[np.bool_]) -> Floats:
        """How late each of those that count would be; 0 for others."""
        done_h = np.cumsum(np.where(counts, self._takes_h, 0.0))
        return np.where(counts, np.maximum(done_h - self._due_h, 0.0), 0.0)


def _least_s(work: Work, zones: frozenset[str]) -> float:
    """Device-seconds, where it is quickest."""
    return float(work.requests.sum()) * min(work.demand[zone].longest_s for zone in work.demand.keys() & zones)
