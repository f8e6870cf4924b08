"""Batches moved in time by the planner of live service, on machines that may do less than was measured.

Every hour new batches are admitted and all that waits is planned anew. A batch whose deadline is not promised when it
arrives is told so; it is asked for again with every plan. The released shards run one after another, each on all
devices: first those whose latest start is near or has passed, then by their place in the batch, so that batches take
turns. What finds no room waits and is planned anew; a shard that has begun runs on into the next hour. When its
completion window closes a batch expires: what has not begun of it is not run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app.domain.admission import admit
from app.domain.arrays import Floats, Ints
from app.domain.batch import Schedule
from app.domain.deferral import Placement
from app.domain.intensity import HOUR
from app.domain.shard import URGENT
from app.domain.work import ROUNDING, S_PER_H, SAFE_SHARE, Demand, Work, margin_h

ZONE = "here"
LEAST_HORIZON_H = 24
URGENT_H = URGENT / HOUR

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
    told: NDArray[np.bool_] = field(init=False)
    """N: whether it was said at admission that the batch might be late."""
    promised: NDArray[np.bool_] = field(init=False)
    """N: whether its deadline is promised, then or later."""
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
        self.told = np.zeros(len(self.batches), dtype=bool)
        self.promised = np.zeros(len(self.batches), dtype=bool)
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
        admitted = self._arrive(now)
        for batch in [batch for batch in self._waiting if self.batches[batch].due_h <= now]:
            del self._waiting[batch]
        placements = self._plan(now, measured)
        self.told[admitted] = ~self.promised[admitted]
        self._work(now, devices, placements)

    def _arrive(self, now: int) -> slice:
        first = self._arrived
        while self._arrived < len(self.batches) and self.batches[self._arrived].at_h <= now:
            self._waiting[self._arrived] = np.arange(len(self.batches[self._arrived].requests))
            self._arrived += 1
        return slice(first, self._arrived)

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
                promised=bool(self.promised[batch]),
            )
            for place, ((batch, requests), demand) in enumerate(
                zip(parts, self.outlook.demands(now, numbers, horizon), strict=True)
            )
        ]
        asked = [place for place, work in enumerate(works) if not work.promised]
        admission = admit(works, asked, {ZONE: measured}, np.arange(horizon, dtype=np.float64))
        self.promised[numbers] = True
        self.promised[[batch for batch, kept in zip(numbers, admission.promised, strict=True) if not kept]] = False
        return dict(zip(self._waiting, admission.placements, strict=False))

    def _work(self, now: int, devices: float, placements: Mapping[int, Placement]) -> None:
        spent_h = 0.0
        if self._running:
            shard, left = self._running
            spent_h = self._go_on(shard, left, now, spent_h, devices)
        queue = _Queue(
            {
                shard: start_by_h
                for batch, placement in placements.items()
                for shard, start_by_h in self._released(batch, placement, now).items()
            }
        )
        while spent_h < 1 - ROUNDING and (following := queue.take(spent_h)):
            batch, place = following
            rows = self._waiting[batch]
            self._waiting[batch] = rows[rows != place]
            spent_h = self._go_on(following, float(self.batches[batch].requests[place]), now, spent_h, devices)
        self._waiting = {batch: rows for batch, rows in self._waiting.items() if len(rows)}

    def _released(self, batch: int, placement: Placement, now: int) -> Mapping[Shard, float]:
        """The shards of a batch that may run in this hour, with their latest starts."""
        promised, due_h = self.promised[batch], self.batches[batch].due_h - now
        may_wait = self.batches[batch].schedule is Schedule.CARBON and promised and placement.late_h == 0
        lost = (due_h + placement.late_h) * SAFE_SHARE > due_h
        starts_h = placement.start_by_h if promised and not lost else np.full(len(placement.hour), np.inf)
        return {
            (batch, int(place)): float(start_by_h)
            for place, hour, start_by_h in zip(self._waiting[batch], placement.hour, starts_h, strict=True)
            if hour == 0 or not may_wait
        }

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
        urgent = self._start_by_h[self._by_start[-1]] <= now_h + URGENT_H
        taken = (self._by_start if urgent else self._in_turn).pop()
        self._taken.add(taken)
        return taken
