"""Strategies: from what is known at an hour to a directive mix per workload.

A policy is given an `Observation`, which holds the present hour, the past and the evidence so far, and nothing later.
The same objects decide in live service and in replay.

| name | decides |
|---|---|
| BASE | always L0 |
| CO2_OPT | always the level of least carbon |
| MODEL_OPT | which share of the requests a smaller model answers, without directives, in steps of a tenth |
| SPROUT_STA | one mix for ever, as SPROUT would choose it at the past's mean intensity |
| SPROUT | the paper's linear programme: one mix for the whole service, the last round's rates taken at face value |
| OURS | a floor per workload (or `aggregate`, or `service`), bounded differences, evidence pooled over rounds |

ORACLE, which assigns a level to every single request knowing its truth, is in `app.domain.oracle`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from app.domain.attribution import Use
from app.domain.directive import L0
from app.domain.footprint import Hardware
from app.domain.optimizer import FloorMode, FloorRule, dirtiness, optimize
from app.domain.options import LevelOption, WorkloadOptions
from app.domain.preference import Evidence, Gain, Quality, pooled

FEWEST_VERDICTS = 30.0
"""Below about 30 verdicts the normal approximation of a claim is no better than a guess."""

CONFIDENCE = 0.6
"""Default probability with which a claimed difference to L0 holds."""

POINT = 0.5
"""The confidence at which a claim is the mean itself."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known of one workload, or of one stratum of it."""

    workload: str
    floor: str
    """The workload whose floor covers it: itself, unless it is a stratum."""
    share: float
    """Share of the recent traffic."""
    uses: Mapping[int, Use]
    """Mean use of a request, by level; L0 is always there."""
    quality: Quality | None
    """From all evidence; None without any."""
    latest: Quality | None = None
    """From the last round of evaluation alone."""
    correctness: Quality | None = None
    """How often answers agree with a reference answer, relative to L0's; None where there are no such answers."""


@dataclass(frozen=True, kw_only=True)
class Observation:
    """Everything a policy may see at an hour."""

    intensity_g_per_kwh: float
    past: Sequence[float]
    """gCO2eq/kWh of the past 30 days, the present hour last."""
    workloads: Sequence[Known]
    levels: int
    hardware: Hardware

    @property
    def phi(self) -> float:
        return dirtiness(self.intensity_g_per_kwh, self.past)


@dataclass(frozen=True, kw_only=True)
class Decision:
    mixes: Mapping[str, tuple[float, ...]]
    """Probability of each level, by workload."""
    floor: float = 1.0
    """The fraction of L0's quality that is kept."""
    binding: frozenset[str] = frozenset()
    """Workloads whose floor holds back further saving."""
    solver_status: str = "nothing to solve"


class Policy(Protocol):
    @property
    def name(self) -> str: ...

    def decide(self, seen: Observation) -> Decision:
        """Mixes for the present hour.

        Raises:
            InvalidInput: a figure cannot be used.
            OptimizerFailed: the solver did not report an optimum.
        """
        ...


def everywhere(seen: Observation, mix: Sequence[float]) -> Decision:
    """The same mix for every workload."""
    return Decision(mixes=dict.fromkeys((known.workload for known in seen.workloads), tuple(mix)))


def only(level: int, levels: int) -> tuple[float, ...]:
    return tuple(float(index == level) for index in range(levels))


@dataclass(frozen=True, kw_only=True)
class Base:
    """Always L0."""

    name: str = "BASE"

    def decide(self, seen: Observation) -> Decision:
        return everywhere(seen, only(L0, seen.levels))


@dataclass(frozen=True, kw_only=True)
class Co2Opt:
    """Always the level with the least expected footprint over the whole traffic, whatever the answers are worth."""

    name: str = "CO2_OPT"

    def decide(self, seen: Observation) -> Decision:
        common = set(range(seen.levels)).intersection(*(known.uses for known in seen.workloads))

        def grams(level: int) -> float:
            return sum(known.share * _price(seen, known.uses[level]) for known in seen.workloads)

        return everywhere(seen, only(min(sorted(common), key=grams), seen.levels))


def _price(seen: Observation, use: Use) -> float:
    return seen.hardware.price(
        energy_j=use.energy_j, device_s=use.device_s, intensity_g_per_kwh=seen.intensity_g_per_kwh
    ).total_g


@dataclass(frozen=True, kw_only=True)
class DirectivePolicy:
    """The linear programme of `app.domain.optimizer` on bounded evidence: OURS, and with other settings the paper's."""

    name: str
    rule: FloorRule
    confidence: float
    """Probability with which each claimed difference to L0 holds; 0.5 takes the mean at face value."""
    fewest_verdicts: float = FEWEST_VERDICTS
    """With fewer verdicts on it a level is not used, unless a prior was declared."""
    last_round_only: bool = False

    def decide(self, seen: Observation) -> Decision:
        solution = optimize(
            self.options(seen),
            levels=seen.levels,
            intensity_g_per_kwh=seen.intensity_g_per_kwh,
            phi=seen.phi,
            hardware=seen.hardware,
            rule=self.rule,
        )
        return Decision(
            mixes=solution.mixes,
            floor=solution.floor,
            binding=solution.binding,
            solver_status=solution.solver_status,
        )

    def options(self, seen: Observation) -> Sequence[WorkloadOptions]:
        """L0, and the levels of which both the use and the quality are known."""
        qualities = self.qualities(seen.workloads)
        return [self._option(known, quality) for known, quality in zip(seen.workloads, qualities, strict=True)]

    def qualities(self, workloads: Sequence[Known]) -> Sequence[Quality | None]:
        """The quality that each workload's claims are made from: in `service` mode that of all that were judged."""
        own = [known.latest if self.last_round_only else known.quality for known in workloads]
        if self.rule.mode is not FloorMode.SERVICE:
            return own
        judged = [(quality, known) for quality, known in zip(own, workloads, strict=True) if quality]
        service = _service([quality for quality, _ in judged], [known for _, known in judged]) if judged else None
        return [service] * len(own)

    def _option(self, known: Known, quality: Quality | None) -> WorkloadOptions:
        gains = self.founded(quality).gains if quality else {}
        right = self.founded(known.correctness).gains if known.correctness else {}
        levels = {L0: LevelOption(energy_j=known.uses[L0].energy_j, device_s=known.uses[L0].device_s)}
        for level in sorted(gains.keys() & known.uses.keys()):
            use = known.uses[level]
            levels[level] = LevelOption(
                energy_j=use.energy_j,
                device_s=use.device_s,
                gain=gains[level].claim(self.confidence),
                correctness_gain=right[level].claim(self.confidence) if level in right else 0.0,
            )
        return WorkloadOptions(
            workload=known.workload,
            floor=known.floor,
            share=known.share,
            base_quality=quality.base if quality else 0.0,
            base_correctness=known.correctness.base if right and known.correctness else 0.0,
            levels=levels,
        )

    def founded(self, quality: Quality) -> Quality:
        """What of it may be used: levels with enough verdicts, or with a declared prior."""
        enough = {
            level: gain
            for level, gain in quality.gains.items()
            if gain.prior_verdicts > 0 or gain.verdicts >= self.fewest_verdicts
        }
        return replace(quality, gains=enough)


def _service(qualities: Sequence[Quality], known: Sequence[Known]) -> Quality:
    return pooled(qualities, [item.share for item in known], [item.floor for item in known])


def sprout(xi: float) -> DirectivePolicy:
    """SPROUT as the paper has it: equations 2-6 for the whole service, rates of the last round at face value."""
    rule = FloorRule(mode=FloorMode.SERVICE, xi=xi, kept_at_l0=0.0)
    return DirectivePolicy(name="SPROUT", rule=rule, confidence=POINT, fewest_verdicts=0.0, last_round_only=True)


@dataclass(kw_only=True)
class SproutStatic:
    """SPROUT's mix at the mean intensity of the past, chosen when evidence first allows and kept for ever."""

    xi: float
    name: str = "SPROUT_STA"
    _kept: tuple[float, ...] | None = field(default=None, init=False)

    def decide(self, seen: Observation) -> Decision:
        if self._kept is None:
            if not any(known.latest for known in seen.workloads):
                return Base().decide(seen)
            decision = sprout(self.xi).decide(replace(seen, intensity_g_per_kwh=float(np.mean(seen.past))))
            self._kept = next(iter(decision.mixes.values()))
        return everywhere(seen, self._kept)


LARGE, SMALL = 0, 1
"""MODEL_OPT's "levels": the model that answers."""


@dataclass(frozen=True, kw_only=True)
class ModelOpt:
    """The share of requests that a smaller model answers, under the same floor, in steps of a tenth.

    `relative_quality` is q_small / q_large. Nothing is measured of it in the paper's published data.
    """

    xi: float
    relative_quality: float
    name: str = "MODEL_OPT"

    def decide(self, seen: Observation) -> Decision:
        assumed = Gain(mean=self.relative_quality - 1.0, sd=0.0, verdicts=0.0, evidence=Evidence.PRIOR)
        gain = Quality(base=1.0, gains={SMALL: assumed})
        known = [replace(item, quality=gain) for item in seen.workloads]
        rule = FloorRule(mode=FloorMode.SERVICE, xi=self.xi, kept_at_l0=0.0)
        solver = DirectivePolicy(name=self.name, rule=rule, confidence=POINT, fewest_verdicts=0.0)
        decision = solver.decide(replace(seen, workloads=known))
        large = round(next(iter(decision.mixes.values()), only(LARGE, seen.levels))[LARGE], 1)
        return everywhere(seen, (large, 1.0 - large))
