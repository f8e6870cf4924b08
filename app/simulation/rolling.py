"""Batches moved in time by the planner of live service, on machines that may do less than was measured.

Every hour new batches are admitted and all that waits is planned anew. The shards released for the hour run one after
another, each on all devices: first those whose latest start has passed, then by their place in the batch, so that
batches take turns. What finds no room waits and is planned anew; a shard that has begun runs on into the next hour.
When its completion window closes a batch expires: what has not begun of it is not run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app.domain.batch import Schedule
from app.domain.deferral import Placement, plan
from app.domain.work import ROUNDING, S_PER_H, Demand, Work, margin_h
from app.simulation.dataset import Floats, Ints

ZONE = "here"
LEAST_HORIZON_H = 24

Shard = tuple[int, int]
"""Batch, and place in it."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    at_h: int
    """Hour of the replay at whose start it arrives."""
    requests: Ints
    """By shard."""
    window_h: float = 24.0
    schedule: Schedule = Schedule.CARBON

    @property
    def due_h(self) -> float:
        return self.at_h + self.window_h


class Outlook(Protocol):
    def demands(self, now: int, batches: Sequence[int], hours: int) -> Sequence[Demand]:
        """What is expected at the hour `now`, for it and those that follow it."""
        ...


@dataclass(kw_only=True)
class Rolling:
    """A replay in the making: N batches, of which the machines have run some; `hour` goes on by an hour."""

    batches: Sequence[Batch]
    """In the order in which they arrive."""
    used_s: Floats
    """N x hours: device-seconds that a request really takes."""
    outlook: Outlook
    ran: Floats = field(init=False)
    """N x hours: requests."""
    late_h: Floats = field(init=False)
    """N: by how much the planner said at admission that the batch would be late."""
    ended_h: Floats = field(init=False)
    """N: when the last shard ended; infinite until then, and for ever if the batch expires."""
    _waiting: dict[int, Ints] = field(default_factory=dict, init=False)
    """The shards of each batch that have not begun."""
    _running: tuple[Shard, float] | None = field(default=None, init=False)
    """The shard that has begun and not ended, and how many of its requests are left."""
    _arrived: int = field(default=0, init=False)
    _to_end: Ints = field(init=False)

    def __post_init__(self) -> None:
        self.ran = np.zeros(self.used_s.shape)
        self.late_h = np.zeros(len(self.batches))
        self.ended_h = np.full(len(self.batches), np.inf)
        self._to_end = np.array([len(batch.requests) for batch in self.batches], dtype=np.int64)

    @property
    def missed(self) -> NDArray[np.bool_]:
        """N: whether the batch outlasted its completion window, or has yet to end."""
        return self.ended_h > np.array([batch.due_h for batch in self.batches]) + ROUNDING

    @property
    def held(self) -> int:
        """Requests that wait."""
        return sum(int(self.batches[batch].requests[rows].sum()) for batch, rows in self._waiting.items())

    def run(self, hours: range, measured: float, devices: float) -> None:
        for now in hours:
            self.hour(now, measured, devices)

    def hour(self, now: int, measured: float, devices: float) -> None:
        """The planner reckons with `measured` devices, and `devices` work."""
        admitted = self._admit(now)
        for batch in [batch for batch in self._waiting if self.batches[batch].due_h <= now]:
            del self._waiting[batch]
        placements = self._plan(now, measured)
        for batch in admitted:
            self.late_h[batch] = placements[batch].late_h
        self._work(now, devices, placements)

    def _admit(self, now: int) -> range:
        first = self._arrived
        while self._arrived < len(self.batches) and self.batches[self._arrived].at_h <= now:
            self._waiting[self._arrived] = np.arange(len(self.batches[self._arrived].requests))
            self._arrived += 1
        return range(first, self._arrived)

    def _plan(self, now: int, measured: float) -> Mapping[int, Placement]:
        """By batch. As in service, what has begun counts too: with what is left of it, at once."""
        parts = [(batch, self.batches[batch].requests[rows]) for batch, rows in self._waiting.items()]
        if self._running:
            (batch, _), left = self._running
            parts.append((batch, np.array([np.ceil(left - ROUNDING)], dtype=np.int64)))
        numbers = [batch for batch, _ in parts]
        last_h = max((self.batches[batch].due_h for batch in numbers), default=now)
        horizon = max(LEAST_HORIZON_H, int(np.ceil(last_h - now)))
        works = [
            Work(
                requests=requests,
                due_h=self.batches[batch].due_h - margin_h(self.batches[batch].window_h) - now,
                schedule=self.batches[batch].schedule if place < len(self._waiting) else Schedule.ASAP,
                demand={ZONE: demand},
            )
            for place, ((batch, requests), demand) in enumerate(
                zip(parts, self.outlook.demands(now, numbers, horizon), strict=True)
            )
        ]
        placements = plan(works, {ZONE: measured}, np.arange(horizon, dtype=np.float64))
        return dict(zip(self._waiting, placements, strict=False))

    def _work(self, now: int, devices: float, placements: Mapping[int, Placement]) -> None:
        spent_h = 0.0
        if self._running:
            shard, left = self._running
            spent_h = self._go_on(shard, left, now, spent_h, devices)
        queue = _Queue(
            {
                (batch, int(self._waiting[batch][place])): float(placement.start_by_h[place])
                for batch, placement in placements.items()
                for place in np.flatnonzero(placement.hour == 0)
            }
        )
        while spent_h < 1 - ROUNDING and (following := queue.take(spent_h)):
            batch, place = following
            rows = self._waiting[batch]
            self._waiting[batch] = rows[rows != place]
            spent_h = self._go_on(following, float(self.batches[batch].requests[place]), now, spent_h, devices)
        self._waiting = {batch: rows for batch, rows in self._waiting.items() if len(rows)}

    def _go_on(self, shard: Shard, requests: float, now: int, spent_h: float, devices: float) -> float:
        """Run what is left of a shard until it ends, or the hour does; returns when that is."""
        batch = shard[0]
        takes_h = requests * float(self.used_s[batch, now]) / (devices * S_PER_H)
        if spent_h + takes_h <= 1 + ROUNDING:
            self._running, part = None, 1.0
            self._to_end[batch] -= 1
            if self._to_end[batch] == 0:
                self.ended_h[batch] = now + spent_h + takes_h
        else:
            part = (1 - spent_h) / takes_h
            self._running = shard, (1 - part) * requests
        self.ran[batch, now] += part * requests
        return spent_h + part * takes_h


class _Queue:
    """The order in which released shards run."""

    def __init__(self, start_by_h: Mapping[Shard, float]) -> None:
        self._start_by_h = start_by_h
        self._by_start = sorted(start_by_h, key=lambda shard: start_by_h[shard], reverse=True)
        self._in_turn = sorted(start_by_h, key=lambda shard: (shard[1], shard[0]), reverse=True)
        self._taken: set[Shard] = set()

    def take(self, now_h: float) -> Shard | None:
        """The next one, `now_h` after the plan was made; None when all are taken."""
        for line in (self._by_start, self._in_turn):
            while line and line[-1] in self._taken:
                line.pop()
        if not self._in_turn:
            return None
        overdue = self._start_by_h[self._by_start[-1]] <= now_h
        taken = (self._by_start if overdue else self._in_turn).pop()
        self._taken.add(taken)
        return taken
