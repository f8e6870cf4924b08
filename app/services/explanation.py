"""Why the mixes are what they are: what is stored with a run and shown with its mixes, as JSON."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from app.domain.directive import L0
from app.domain.footprint import Hardware
from app.domain.optimizer import FloorMode, dirtiness
from app.domain.policy import Decision, DirectivePolicy, Known
from app.domain.preference import Evidence, Quality, weakest
from app.services.observation import Situation

_KEPT = {
    FloorMode.PER_WORKLOAD: "every workload keeps {:.1%} of its own L0 quality",
    FloorMode.AGGREGATE: "all workloads together keep {:.1%} of their L0 quality",
    FloorMode.SERVICE: "the service taken as one workload keeps {:.1%} of its L0 quality",
}


def inputs(policy: DirectivePolicy, situation: Situation, hardware: Hardware) -> dict[str, Any]:
    """What a run decides from. Figures that JSON cannot hold, such as NaN, are null.

    `workloads` has an entry for each mix, by name: `floor` is the workload whose floor covers it, `share` its part of
    the recent traffic, `evidence` what its claims rest on and `verdicts` on how many, faded. `levels` are those that
    may be used, with the expected use of a request and the claimed difference to L0's quality, which is `base_quality`.
    """
    figure = situation.figure
    seen = {**asdict(figure), "start": figure.start.isoformat(), "age_h": situation.age_h} if figure else None
    qualities = policy.qualities(situation.workloads)
    return {
        "intensity": seen,
        "past_hours": len(situation.past),
        "phi": dirtiness(figure.intensity_g_per_kwh, situation.past) if figure else None,
        "policy": {"name": policy.name, **asdict(policy.rule), "confidence": policy.confidence},
        "hardware": asdict(hardware),
        "workloads": {
            known.workload: _workload(known, quality and policy.founded(quality), policy.confidence)
            for known, quality in zip(situation.workloads, qualities, strict=True)
        },
    }


def _workload(known: Known, quality: Quality | None, confidence: float) -> dict[str, Any]:
    gains = quality.gains if quality else {}
    levels = [L0, *sorted(gains.keys() & known.uses.keys())]
    return {
        "floor": known.floor,
        "share": known.share,
        "base_quality": quality.base if quality else None,
        "evidence": weakest(gains[level].evidence for level in levels if level in gains),
        "verdicts": sum(gains[level].verdicts for level in levels if level in gains),
        "levels": {f"L{level}": _level(known, quality, level, confidence) for level in levels},
    }


def _level(known: Known, quality: Quality | None, level: int, confidence: float) -> dict[str, Any]:
    gain = quality.gains.get(level) if quality else None
    use = known.uses[level]
    return {
        "energy_j": _figure(use.energy_j),
        "device_s": _figure(use.device_s),
        "claimed_gain": _figure(gain.claim(confidence)) if gain else 0.0,
        "mean_gain": _figure(gain.mean) if gain else 0.0,
        "verdicts": gain.verdicts if gain else 0.0,
        "evidence": gain.evidence if gain else Evidence.NONE,
    }


def _figure(value: float) -> float | None:
    return value if math.isfinite(value) else None


def kept(policy: DirectivePolicy, workloads: Sequence[Known], decision: Decision) -> str:
    """What a solved run promises, in a sentence.

    A floor that workloads share says nothing about one of them, so the one that gives up most is named with it.
    """
    promise = _KEPT[policy.rule.mode].format(decision.floor)
    fractions = {} if policy.rule.mode is FloorMode.PER_WORKLOAD else _kept_by_floor(policy, workloads, decision.mixes)
    if not fractions:
        return promise
    worst = min(fractions, key=lambda floor: fractions[floor])
    return f"{promise}; the worst of them, {worst}, can only claim {fractions[worst]:.1%} of its own"


def _kept_by_floor(
    policy: DirectivePolicy, workloads: Sequence[Known], mixes: Mapping[str, tuple[float, ...]]
) -> Mapping[str, float]:
    """The fraction of its own L0 quality that each workload can be claimed to keep, as far as it was judged."""
    kept_quality: dict[str, float] = defaultdict(float)
    base_quality: dict[str, float] = defaultdict(float)
    for known in workloads:
        used = [(level, share) for level, share in enumerate(mixes[known.workload]) if level != L0 and share > 0]
        if known.quality is None or not known.quality.gains.keys() >= {level for level, _ in used}:
            continue
        claims = sum(share * known.quality.gains[level].claim(policy.confidence) for level, share in used)
        kept_quality[known.floor] += known.share * (known.quality.base + claims)
        base_quality[known.floor] += known.share * known.quality.base
    return {floor: kept_quality[floor] / base for floor, base in base_quality.items()}
