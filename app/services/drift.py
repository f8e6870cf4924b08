"""Noticing that a level's answers have become worse than what its mix rests on, and moving back."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection

from app.domain.bias import Bias, biases, is_taken_as_it_is
from app.domain.directive import L0
from app.domain.drift import Score, last_drop
from app.domain.judging import Kind
from app.domain.preference import EVEN
from app.domain.workload import floor_of
from app.services import deployment, directives, evidence, intensity
from app.services.context import Context
from app.store import events, mixes, verdicts
from app.store.verdicts import Scored

log = logging.getLogger(__name__)

DROPPED = "quality_drop"


Claims = Mapping[tuple[str, int], float]
"""The win rate that is claimed of a level of a workload, or of a stratum of one."""


def find(context: Context, connection: Connection, tenant: str, model: str, now: datetime) -> bool:
    """Whether a level that is in use has dropped. Then its verdicts from before the drop count no longer, and its
    workload runs at L0 until the mixes are computed anew.

    What is expected of it is what the newest mix claims; where zones differ, the most that one of them does. Each
    verdict is held against the claim of its own stratum, as its judge with its biases would see it; those of a judge
    that is not believed say nothing here either.
    """
    claims = _claims(context, connection, tenant, model)
    if not claims:
        return False
    known = biases(evidence.counted(connection, context.settings, tenant, model, Kind.PREFERENCE, now))
    fingerprints = deployment.fingerprints(connection, context.settings, model)
    tested: dict[tuple[str, int], list[tuple[Scored, Score]]] = defaultdict(list)
    for each in verdicts.scores_since(connection, tenant, model, fingerprints, now - intensity.PAST):
        expected = _expected(claims, known, each)
        if expected is not None:
            tested[floor_of(each.workload), each.level].append((each, Score(score=each.score, expected=expected)))
    dropped = False
    for (workload, level), scored in tested.items():
        message = _check(connection, tenant, model, workload, level, scored, now)
        if message is not None:
            directives.move_to_l0(context, connection, tenant, model, workload, message, now)
            dropped = True
    return dropped


def _expected(claims: Claims, known: Mapping[str, Bias], verdict: Scored) -> float | None:
    """The mean score of a verdict by what is claimed; None where nothing is, or its judge is not believed."""
    claimed = claims.get((verdict.workload, verdict.level))
    if claimed is None or is_taken_as_it_is(verdict.judge):
        return claimed
    return known.get(verdict.judge, Bias(verdicts=0)).expected(claimed, verdict.longer)


def _claims(context: Context, connection: Connection, tenant: str, model: str) -> Claims:
    """Of each level that has a part in a current mix."""
    claims: dict[tuple[str, int], float] = {}
    for zone in context.settings.all_zones:
        current = mixes.current(connection, tenant, zone, model)
        reasons = mixes.reasons(connection, [mix.id for mix in current.values()])
        for mix in current.values():
            levels = reasons.get(mix.id, {}).get("levels", {})
            for level, share in enumerate(mix.probabilities):
                said = levels.get(f"L{level}") or {}
                if level == L0 or share <= 0 or said.get("claimed_gain") is None or not said.get("verdicts"):
                    continue
                key = mix.workload, level
                claims[key] = min(max(claims.get(key, 0.0), EVEN + said["claimed_gain"]), 1.0)
    return claims


def _check(
    connection: Connection,
    tenant: str,
    model: str,
    workload: str,
    level: int,
    scored: Sequence[tuple[Scored, Score]],
    now: datetime,
) -> str | None:
    """What has happened to a level that has dropped, once that is entered; None if it has not."""
    drop = last_drop([score for _, score in scored])
    if drop is None:
        return None
    first, _ = scored[drop.first]
    seen = drop.found - drop.first + 1
    message = (
        f"Answers of {model} to {workload} at L{level} have become worse: {drop.mean:.0%} of {seen} verdicts prefer "
        f"these to L0's, where its mix rests on {drop.expected:.0%}. Verdicts from before "
        f"{first.created_at:%Y-%m-%d %H:%M} no longer count."
    )
    log.warning(message)
    for name in {workload, *(each.workload for each, _ in scored)}:
        verdicts.start_afresh(
            connection,
            tenant=tenant,
            model=model,
            workload=name,
            level=level,
            first_verdict=first.id,
            reason=message,
            now=now,
        )
    details = {"model": model, "workload": workload, "level": level, "mean": drop.mean, "expected": drop.expected}
    events.add(connection, tenant=tenant, kind=DROPPED, message=message, details=details, now=now)
    return message
