"""What rounds of evaluation have found so far: verdicts and measured use, per class of prompts.

A request is judged once; judging it again makes its verdict new, not a second one, or a small set of recorded requests
would look like ever more evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from app.domain.arrays import Floats, Ints
from app.domain.attribution import Use
from app.domain.directive import L0
from app.domain.policy import Known
from app.domain.preference import Quality, from_picks, stratified
from app.domain.sampling import allocate
from app.simulation.dataset import Recording
from app.simulation.partition import Classes

NEVER = -np.inf
NOT_YET = -1
DAY_H = 24


@dataclass
class EvidenceBook:
    """Verdicts on the recorded requests that stand for recent traffic."""

    recording: Recording
    classes: Classes
    member: Ints
    """Class of each recorded request."""
    half_life_h: float
    asked_again_h: float
    last_round_only: bool = False
    """Rounds as the paper has them: sampled by traffic, never urgent, and nothing of an earlier one is used."""
    judged_at: Floats = field(init=False)
    """Hour of each request's verdict, minus infinity without one."""
    _last: int = field(default=0, init=False)
    """Hour of the last round: between rounds the same evidence only fades."""
    _picks: Floats = field(init=False)
    _held: Floats = field(init=False)
    """W: verdicts of each workload as they counted at the last round."""
    _days: int = field(init=False)
    """Days after the last round for which `_pooled` was computed: verdicts fade from day to day."""
    _pooled: Sequence[Quality | None] = field(default=(), init=False)
    _latest: Sequence[Quality | None] = field(init=False)
    _uses: Sequence[dict[int, Use]] = field(init=False)

    def __post_init__(self) -> None:
        self.judged_at = np.full(len(self.recording), NEVER)
        self._summarize()

    def sample(self, number: int, shares: Floats, hour: int, rng: Generator) -> Ints:
        """Requests for a round, allotted as in live service: more where evidence is thin and traffic (`shares`) high.

        In random order, so that what a budget cuts off is no workload's alone. A request whose verdict is younger than
        `asked_again_h` is not judged again.
        """
        if self.last_round_only:
            return self._sample_by_traffic(number, shares, rng)
        due = self._due(hour)
        rows = [rng.permutation(np.flatnonzero(due & (self.recording.workload == each))) for each in range(len(shares))]
        names = self.recording.workloads
        wanted = allocate(
            number,
            shares=dict(zip(names, shares.tolist(), strict=True)),
            verdicts=dict(zip(names, self._verdicts(hour).tolist(), strict=True)),
            available={name: len(own) for name, own in zip(names, rows, strict=True)},
        )
        chosen = [own[: wanted.get(name, 0)] for name, own in zip(names, rows, strict=True)]
        return np.asarray(rng.permutation(np.concatenate(chosen)), dtype=np.int64)

    def _verdicts(self, hour: int) -> Floats:
        """W: verdicts of each workload, faded."""
        return np.asarray(self._held * 2.0 ** (-(hour - self._last) / self.half_life_h))

    def _sample_by_traffic(self, number: int, shares: Floats, rng: Generator) -> Ints:
        chosen = []
        for workload, wanted in enumerate(rng.multinomial(number, shares / shares.sum())):
            rows = np.flatnonzero(self.recording.workload == workload)
            chosen.append(rng.choice(rows, min(wanted, len(rows)), replace=False))
        return np.asarray(rng.permutation(np.concatenate(chosen)), dtype=np.int64)

    def thinnest(self, shares: Floats, hour: int) -> float:
        """The fewest verdicts that still count of a workload with traffic, of those that more could be had of."""
        if self.last_round_only:
            return np.inf
        due = np.bincount(self.recording.workload, weights=self._due(hour), minlength=len(shares))
        return float(min(self._verdicts(hour)[(shares > 0) & (due > 0)], default=np.inf))

    def _due(self, hour: int) -> NDArray[np.bool_]:
        """Requests that may be judged at `hour`."""
        return np.asarray(hour - self.judged_at >= self.asked_again_h)

    def judge(self, rows: Ints, hour: int) -> None:
        """Record the verdicts and the use of `rows`, judged in a round at `hour`."""
        self.judged_at[rows] = hour
        self._last = hour
        self._summarize()

    def known(self, shares: Floats, hour: int) -> Sequence[Known]:
        """What a policy may know at `hour`; `shares` is the recent traffic by class."""
        days = (hour - self._last) // DAY_H
        if days != self._days:
            self._days = days
            self._pooled = self._qualities(self._picks * 2.0 ** (-days * DAY_H / self.half_life_h))
        return [
            Known(
                workload=name,
                floor=floor,
                share=float(shares[index]),
                uses=self._uses[index],
                quality=self._pooled[index],
                latest=self._latest[index],
            )
            for index, (name, floor) in enumerate(zip(self.classes.names, self.classes.floors, strict=True))
        ]

    def _qualities(self, picks: Floats) -> Sequence[Quality | None]:
        """By class, from its picks by level; strata are seen beside the workload that they belong to."""
        found = [from_picks(row) for row in picks.tolist()]
        for rows in self.classes.strata:
            whole = from_picks(picks[rows].sum(axis=0).tolist())
            if whole and len(rows) > 1:
                for row, quality in zip(rows, stratified(whole, [found[row] for row in rows]), strict=True):
                    found[row] = quality
        return found

    def _summarize(self) -> None:
        judged = self.judged_at > NEVER
        age = np.where(judged, self._last - self.judged_at, 0.0)
        weight = judged * 2.0 ** (-age / self.half_life_h)
        self._picks = self._count(weight)
        held = np.bincount(self.recording.workload, weights=weight, minlength=len(self.recording.workloads))
        self._held = np.asarray(held, dtype=np.float64)
        latest = judged & (self.judged_at == self._last)
        self._latest = self._qualities(self._count(latest.astype(float)))
        self._days = NOT_YET
        used = latest if self.last_round_only else judged
        self._uses = [self._measured(np.flatnonzero(self.member == index), used) for index in self._indices]

    @property
    def _indices(self) -> range:
        return range(len(self.classes.names))

    def _count(self, weight: Floats) -> Floats:
        """Classes x levels: weight of the verdicts that picked each level."""
        levels = self.recording.levels
        cell = self.member * levels + self.recording.pick
        counts = np.bincount(cell, weights=weight, minlength=len(self._indices) * levels)
        return np.asarray(counts.reshape(-1, levels), dtype=np.float64)

    def _measured(self, rows: Ints, judged: NDArray[np.bool_]) -> dict[int, Use]:
        """Mean use by level: of L0 over all recent traffic, of the others over what rounds have measured.

        A round by traffic has another composition than the recorded requests, so there L0 comes from it too.
        """
        seen = rows[judged[rows]]
        if self.last_round_only and len(seen):
            rows = seen
        levels = range(1, self.recording.levels) if len(seen) else ()
        return {L0: self._mean(rows, L0)} | {level: self._mean(seen, level) for level in levels}

    def _mean(self, rows: Ints, level: int) -> Use:
        if not len(rows):
            return Use()
        return Use(
            energy_j=float(self.recording.energy_j[rows, level].mean()),
            device_s=float(self.recording.device_s[rows, level].mean()),
        )
