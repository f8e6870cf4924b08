"""What is known of the quality of answers, what it cost to learn, and what is being done about it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from scipy.special import betaincinv, ndtri
from sqlalchemy import Connection

from app.domain.bias import Counted, biases, corrected
from app.domain.judging import Kind
from app.domain.preference import PSEUDO_VERDICTS, Tally
from app.domain.workload import floor_of
from app.services import evidence, intensity
from app.services.context import Context
from app.services.deployment import CHANGED
from app.services.drift import DROPPED
from app.store import events, rounds, samples, savings

ROUNDS_SHOWN = 20
EVENTS_SHOWN = 20
INTERVAL = 0.9


@dataclass(frozen=True, kw_only=True)
class LevelQuality:
    """Of one level of one workload, held against its L0."""

    workload: str
    level: int
    kind: Kind
    verdicts: float
    """Each counts less with age; of judges with a bias, as many as would say as much without it."""
    win_rate: float
    """Share of wins, ties counted half; 0.5 is as good as L0."""
    interval: tuple[float, float]
    """90 %."""


@dataclass(frozen=True, kw_only=True)
class JudgeQuality:
    judge: str
    verdicts: float
    position_bias: float
    """From -1 to 1: the share of pairs in which the first answer was preferred in both orders, less the second's."""
    pairs: float
    length_bias: float
    """How much more often an answer wins for being longer than L0's."""
    length_bias_sd: float
    is_believed: bool


def report(context: Context, tenant: str, model: str | None = None) -> Mapping[str, Any]:
    """Everything about evaluation, as JSON; of the installation's own model where none is named."""
    settings, now = context.settings, context.clock.now()
    name = model or settings.home_model
    with context.database.transaction() as connection:
        counted = {kind: evidence.counted(connection, settings, tenant, name, kind, now) for kind in Kind}
        decision = next(iter(rounds.decisions(connection, tenant, name)), None)
        return {
            "model": name,
            "judge": settings.judge,
            "decision": asdict(decision) if decision else None,
            "levels": [asdict(each) for kind, found in counted.items() for each in _levels(kind, found)],
            "judges": [asdict(each) for each in _judges(counted[Kind.PREFERENCE])],
            "rounds": _rounds(connection, tenant, name),
            "saved": [asdict(each) for each in savings.saved(connection, tenant, name, now - intensity.PAST)],
            "overhead": _overhead(connection, tenant, name, now - intensity.PAST),
            "events": [asdict(each) for each in events.newest(connection, tenant, EVENTS_SHOWN)],
        }


def event_counts(context: Context) -> Mapping[str, int]:
    """Events by kind, over all tenants; a kind that has not happened yet is there with 0."""
    with context.database.transaction() as connection:
        return {DROPPED: 0, CHANGED: 0} | dict(events.counts(connection))


def _levels(kind: Kind, counted: Sequence[Counted]) -> Sequence[LevelQuality]:
    """Strata count as the workload they belong to."""
    found: dict[tuple[str, int], Tally] = {}
    for (workload, level), tally in corrected(counted).items():
        key = floor_of(workload), level
        found[key] = found.get(key, Tally()) + tally
    return [
        LevelQuality(
            workload=workload,
            level=level,
            kind=kind,
            verdicts=tally.verdicts,
            win_rate=(tally.wins + tally.ties / 2) / tally.verdicts,
            interval=_interval(tally),
        )
        for (workload, level), tally in sorted(found.items())
        if tally.verdicts > 0
    ]


def _interval(tally: Tally) -> tuple[float, float]:
    """Of the Beta posterior that the optimizer's claims come from, and of what the verdicts may err by in common."""
    a = PSEUDO_VERDICTS + tally.wins + tally.ties / 2
    b = PSEUDO_VERDICTS + tally.losses + tally.ties / 2
    mean, common = a / (a + b), float(ndtri((1 + INTERVAL) / 2)) * tally.common_sd
    low, high = (float(betaincinv(a, b, (1 + side * INTERVAL) / 2)) for side in (-1, 1))
    return max(mean - math.hypot(mean - low, common), 0.0), min(mean + math.hypot(high - mean, common), 1.0)


def _judges(counted: Sequence[Counted]) -> Sequence[JudgeQuality]:
    return [
        JudgeQuality(
            judge=judge,
            verdicts=bias.verdicts,
            position_bias=bias.position,
            pairs=bias.pairs,
            length_bias=bias.length,
            length_bias_sd=bias.length_sd,
            is_believed=bias.is_believed,
        )
        for judge, bias in sorted(biases(counted).items())
    ]


def _rounds(connection: Connection, tenant: str, model: str) -> Sequence[Mapping[str, Any]]:
    newest = rounds.newest(connection, tenant, model, ROUNDS_SHOWN)
    return [{**asdict(each), **asdict(samples.progress(connection, each.id))} for each in newest]


def _overhead(connection: Connection, tenant: str, model: str, since: datetime) -> Mapping[str, float | None]:
    """Evaluation's part of what was emitted since then. What a judging server emits is not known."""
    served_g = rounds.served_g(connection, tenant, model, since)
    spent = samples.spent(connection, tenant, model, since)
    return {
        "energy_j": spent.energy_j,
        "footprint_g": spent.footprint_g,
        "served_g": served_g,
        "share": spent.footprint_g / served_g if served_g else None,
    }
