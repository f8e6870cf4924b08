"""Noticing that a level's answers have become worse than what its mix rests on, and moving back."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection

from app.domain.directive import L0
from app.domain.drift import last_drop
from app.domain.preference import EVEN
from app.domain.workload import floor_of
from app.services import deployment, directives, intensity
from app.services.context import Context
from app.store import events, mixes, verdicts
from app.store.verdicts import Scored

log = logging.getLogger(__name__)

DROPPED = "quality_drop"


def find(context: Context, connection: Connection, tenant: str, model: str, now: datetime) -> bool:
    """Whether a level that is in use has dropped. Then its verdicts from before the drop count no longer, and its
    workload runs at L0 until the mixes are computed anew.

    What is expected of it is what the newest mix claims; where zones differ, the most that one of them does.
    """
    expected = _claims(context, connection, tenant, model)
    if not expected:
        return False
    fingerprints = deployment.fingerprints(connection, context.settings, model)
    scored: dict[tuple[str, int], list[Scored]] = defaultdict(list)
    for each in verdicts.scores_since(connection, tenant, model, fingerprints, now - intensity.PAST):
        scored[floor_of(each.workload), each.level].append(each)
    dropped = False
    for (workload, level), claimed in expected.items():
        message = _check(connection, tenant, model, workload, level, scored[workload, level], claimed, now)
        if message is not None:
            directives.move_to_l0(context, connection, tenant, model, workload, message, now)
            dropped = True
    return dropped


def _claims(context: Context, connection: Connection, tenant: str, model: str) -> Mapping[tuple[str, int], float]:
    """The win rate that is claimed of each level of each workload that has a part in a current mix."""
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
                key = floor_of(mix.workload), level
                claims[key] = max(claims.get(key, 0.0), EVEN + said["claimed_gain"])
    return claims


def _check(
    connection: Connection,
    tenant: str,
    model: str,
    workload: str,
    level: int,
    scored: Sequence[Scored],
    claimed: float,
    now: datetime,
) -> str | None:
    """What has happened to a level that has dropped, once that is entered; None if it has not."""
    drop = last_drop([each.score for each in scored], expected=claimed)
    if drop is None:
        return None
    first = scored[drop.first]
    seen = drop.found - drop.first + 1
    message = (
        f"Answers of {model} to {workload} at L{level} have become worse: {drop.mean:.0%} of {seen} verdicts prefer "
        f"these to L0's, and its mix rests on {claimed:.0%}. Verdicts from before {first.created_at:%Y-%m-%d %H:%M} no "
        "longer count."
    )
    log.warning(message)
    for name in {workload, *(each.workload for each in scored)}:
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
    details = {"model": model, "workload": workload, "level": level, "mean": drop.mean, "claimed": claimed}
    events.add(connection, tenant=tenant, kind=DROPPED, message=message, details=details, now=now)
    return message
