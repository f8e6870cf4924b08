"""One policy over one zone-month, hour by hour.

Traffic follows the recorded composition. What the policy may learn comes from the *fit* requests, which stand for
recent traffic: rounds of evaluation sample them, are paid for, and only then are their verdicts and energies known.
What is reported comes from the *score* requests: no policy sees them, only the budget of evaluation follows what
serving them emits. The policy is handed the intensities up to the present hour and no later ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from app.domain.arrays import Floats, Ints
from app.domain.directive import L0
from app.domain.footprint import Hardware
from app.domain.policy import FEWEST_VERDICTS, Observation, Policy
from app.domain.sampling import MOST_PER_ROUND
from app.domain.trigger import ENOUGH, Opening, Trigger, gate_is_open
from app.domain.units import JOULES_PER_KWH
from app.simulation.dataset import Recording
from app.simulation.evidence import EvidenceBook
from app.simulation.outcome import Bill, Evaluation, Outcome
from app.simulation.partition import Partition, cells

PAST_H = 720
"""Hours of intensity that a policy may look back on: 30 days."""


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What is the same for every policy of a comparison."""

    requests_per_hour: int = 10_000
    budget: float = 0.01
    """Rounds may emit at most this share of the footprint served since the last one."""
    most_per_round: int = MOST_PER_ROUND
    """Prompts that a round samples at most."""
    half_life_h: float = 30 * 24.0
    """Age at which a verdict counts half."""
    asked_again_h: float = 30 * 24.0
    """Age of its verdict at which a recorded request is judged again: it would only be paid for twice before."""
    last_round_only: bool = False
    """Whether rounds are the paper's: sampled by traffic, never urgent, and used alone."""
    trigger: Trigger = field(default_factory=Trigger)
    hardware: Hardware = field(default_factory=Hardware)


@dataclass(frozen=True, kw_only=True)
class Month:
    """What happened in the hours of a replay, and the intensities before them."""

    intensity: Floats
    """gCO2eq/kWh of every hour of the year so far and of the month; `start` is the month's first."""
    start: int
    traffic: Floats
    """Hours x W."""

    @property
    def now(self) -> Floats:
        """The intensities of the month's own hours."""
        return self.intensity[self.start : self.start + len(self.traffic)]

    def past(self, hour: int) -> Floats:
        """The intensities up to `hour` of the month, that one included: all that may be known in it."""
        now = self.start + hour
        return self.intensity[max(now + 1 - PAST_H, 0) : now + 1]


@dataclass
class _Round:
    """An open round of evaluation."""

    forced: bool


def replay(
    policy: Policy,
    month: Month,
    fit: Recording,
    score: Recording,
    partition: Partition,
    conditions: Conditions,
    rng: np.random.Generator,
) -> Outcome:
    """Run `policy` through `month`; without a budget for it, there is no evaluation.

    Raises:
        InvalidInput: a figure cannot be used.
        OptimizerFailed: the solver did not report an optimum.
    """
    names = partition.classes.names
    book = empty_book(fit, partition, conditions)
    recent = cells(fit, partition.fit, len(names))
    bill = Bill.of(score, partition, conditions.hardware)
    evaluator = _Evaluator(book=book, conditions=conditions, rng=rng)
    mixes = np.zeros((len(month.traffic), len(names), fit.levels))
    for hour, traffic in enumerate(month.traffic):
        past = month.past(hour)
        seen = Observation(
            intensity_g_per_kwh=float(past[-1]),
            past=past.tolist(),
            workloads=book.known(traffic @ recent, hour),
            levels=fit.levels,
            hardware=conditions.hardware,
        )
        decided = policy.decide(seen).mixes
        mixes[hour] = [decided[name] for name in names]
        if conditions.budget > 0:
            served_g = bill.grams(traffic, mixes[hour], past[-1]).sum() * conditions.requests_per_hour
            # The class with the least of it limits a sample in which all classes of a workload have their share.
            at_l0 = np.where(recent > 0, mixes[hour, :, L0], 1.0).min(axis=1)
            evaluator.hour(hour, past, traffic, float(served_g), at_l0)
    requests = month.traffic * conditions.requests_per_hour
    return bill.settle(arrived=requests, served=requests, mixes=mixes, intensity=month.now, evaluation=evaluator.so_far)


def empty_book(fit: Recording, partition: Partition, conditions: Conditions) -> EvidenceBook:
    return EvidenceBook(
        recording=fit,
        classes=partition.classes,
        member=partition.fit,
        half_life_h=conditions.half_life_h,
        asked_again_h=conditions.asked_again_h,
        last_round_only=conditions.last_round_only,
    )


@dataclass(kw_only=True)
class _Evaluator:
    """Opens rounds, drains them when the gate is open, and keeps them within their budget."""

    book: EvidenceBook
    conditions: Conditions
    rng: np.random.Generator
    last: int = 0
    budget_g: float = 0.0
    """What a round may emit now, from what was served since the last one."""
    requests: Floats = field(init=False)
    """W: since the last round."""
    at_l0: Floats = field(init=False)
    """W: the least share of them that was served at L0, in any hour and class. So many L0 has answered that make a
    uniform sample of the workload; only the other levels have to."""
    so_far: Evaluation = field(default_factory=Evaluation)
    open: _Round | None = None

    def __post_init__(self) -> None:
        self._forget_requests()

    def _forget_requests(self) -> None:
        self.requests = np.zeros(len(self.book.recording.workloads))
        self.at_l0 = np.ones_like(self.requests)

    def hour(self, hour: int, past: Floats, traffic: Floats, served_g: float, at_l0: Floats) -> None:
        """What evaluation does at the end of an hour in which `served_g` grams were served.

        `at_l0` is the least share, in any of its classes, of each workload's requests that were served at L0.
        """
        self.budget_g += self.conditions.budget * served_g
        self.requests += traffic * self.conditions.requests_per_hour
        self.at_l0 = np.minimum(self.at_l0, at_l0)
        intensity = float(past[-1])
        thinnest = self.book.thinnest(traffic, hour)
        opening = self.conditions.trigger.opening(
            idle_h=hour - self.last,
            intensity=intensity,
            past=past.tolist(),
            urgent=thinnest < ENOUGH,
            bare=thinnest < FEWEST_VERDICTS,
        )
        if opening is not Opening.NO and (self.open is None or opening.forced):
            self.open = _Round(forced=opening.forced)
        if self.open and gate_is_open(intensity=intensity, past=past.tolist(), forced=self.open.forced):
            self._drain(hour, intensity, traffic)

    def _drain(self, hour: int, intensity: float, traffic: Floats) -> None:
        """Answer and judge as many prompts, at every level that has not answered them, as the budget allows."""
        everything = self._grams(np.arange(len(self.book.recording)), intensity)
        number = min(int(self.budget_g / everything[:, 1:].sum(axis=1).mean()), self.conditions.most_per_round)
        rows = self.book.sample(max(number, 1), traffic, hour, self.rng)
        grams = np.where(self._has_answer(rows), everything[rows, 1:].sum(axis=1), everything[rows].sum(axis=1))
        is_paid_for = np.cumsum(grams) <= self.budget_g
        affordable = rows[is_paid_for]
        if len(rows) and not len(affordable):
            return  # The round stays open until the budget has grown to a prompt.
        self.book.judge(affordable, hour)
        spent_g = float(grams[is_paid_for].sum())
        self.so_far = Evaluation(
            grams=self.so_far.grams + spent_g,
            verdicts=self.so_far.verdicts + len(affordable),
            hours=(*self.so_far.hours, hour) if len(affordable) else self.so_far.hours,
        )
        self.last, self.budget_g, self.open = hour, 0.0, None
        self._forget_requests()

    def _has_answer(self, rows: Ints) -> NDArray[np.bool_]:
        """Which of `rows` stand for requests that were served at L0: as many of each workload as there were."""
        workload = self.book.recording.workload[rows]
        place = np.empty(len(rows))
        for each in range(len(self.requests)):
            own = np.flatnonzero(workload == each)
            place[own] = np.arange(len(own))
        return np.asarray(place < np.floor(self.requests * self.at_l0)[workload])

    def _grams(self, rows: Ints, intensity: float) -> Floats:
        """What it takes to answer each request at each level. The judge is remote: its energy is unknown."""
        recording, hardware = self.book.recording, self.conditions.hardware
        operational = recording.energy_j[rows] / JOULES_PER_KWH * hardware.pue * intensity
        return np.asarray(operational + recording.device_s[rows] * hardware.embodied_g_per_device_s)
