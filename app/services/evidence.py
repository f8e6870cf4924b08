"""The verdicts that count now: those on the present model under the present directives, each weighing less with age."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection

from app.domain.bias import Counted
from app.domain.directive import L0
from app.domain.judging import Kind
from app.domain.workload import floor_of
from app.services import deployment, intensity
from app.services.context import Context
from app.settings import Settings
from app.store import profiles, verdicts


def counted(
    connection: Connection, settings: Settings, tenant: str, model: str, kind: Kind, now: datetime
) -> Sequence[Counted]:
    return verdicts.counted(
        connection,
        tenant,
        model,
        deployment.fingerprints(connection, settings, model),
        kind=kind,
        now=now,
        half_life_s=settings.verdict_half_life_s,
    )


def fewest(context: Context, connection: Connection, tenant: str, model: str) -> Mapping[str, float]:
    """Verdicts on the level of which there are fewest, of each workload with traffic, strata included."""
    seen = profiles.traffic(connection, tenant, model, context.clock.now() - intensity.PAST)
    floors: dict[str, dict[int, float]] = {floor_of(name): {} for name in seen}
    for (name, level), number in _numbers(context, connection, tenant, model).items():
        if floor_of(name) in floors:
            levels = floors[floor_of(name)]
            levels[level] = levels.get(level, 0.0) + number
    others = range(L0 + 1, context.settings.levels)
    return {
        name: min((levels.get(level, 0.0) for level in others), default=math.inf) for name, levels in floors.items()
    }


def per_workload(context: Context, connection: Connection, tenant: str, model: str) -> Mapping[str, float]:
    """Verdicts on a level of each workload, or stratum of one, on average over the levels."""
    others = max(context.settings.levels - 1, 1)
    known: dict[str, float] = {}
    for (name, _), number in _numbers(context, connection, tenant, model).items():
        known[name] = known.get(name, 0.0) + number / others
    return known


def _numbers(context: Context, connection: Connection, tenant: str, model: str) -> Mapping[tuple[str, int], float]:
    """Preferences per workload and level."""
    numbers: dict[tuple[str, int], float] = {}
    for each in counted(connection, context.settings, tenant, model, Kind.PREFERENCE, context.clock.now()):
        key = each.workload, each.level
        numbers[key] = numbers.get(key, 0.0) + each.tally.verdicts
    return numbers
