"""Recomputing the directive mixes from the store's intensity, profiles and verdicts."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from app.domain.directive import L0
from app.domain.errors import IntensityUnavailable, InvalidInput, OptimizerFailed
from app.domain.intensity import HOUR
from app.domain.optimizer import FloorRule, LevelOption, Solution, WorkloadOptions, dirtiness, optimize
from app.domain.preference import EVEN, PAPER_PRIOR, Evidence, Prior, Tally, quality
from app.domain.profile import Profile
from app.domain.units import hour_of
from app.ports import IntensityProvider
from app.services.context import Context
from app.services.intensity import PAST, age_hours, refresh
from app.settings import Settings
from app.store import intensity, mixes, profiles, results, verdicts
from app.store.database import TENANT
from app.store.ids import new_id
from app.store.mixes import DirectiveMix, OptimizerRun

log = logging.getLogger(__name__)

STALE_INTENSITY = timedelta(hours=3)
"""Older than this, the intensity says nothing about the present."""
STALE_MIX = timedelta(hours=24)
"""A last good mix is kept for this long when no new one can be computed."""

ENOUGH_REQUESTS = 10
"""With fewer requests at a level, a declared prior says more about its use than their mean."""

WEAKEST_FIRST = (Evidence.PRIOR, Evidence.MIXED, Evidence.MEASURED, Evidence.NONE)
"""A mix is only as well founded as the weakest of its levels."""

NOMINAL = LevelOption(energy_j=1.0, device_s=1.0, win_rate=EVEN)
"""Stands for L0 in a workload that was never measured: only the ratio between its levels matters then."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The optimizer's view of one workload, and what its quality figures rest on."""

    workload: WorkloadOptions
    evidence: Evidence


def prior(settings: Settings) -> Prior | None:
    """The declared prior, if its levels are those of the settings."""
    if settings.prior == "none" or len(PAPER_PRIOR.tallies) != settings.levels:
        return None
    return PAPER_PRIOR


def recompute(context: Context, provider: IntensityProvider) -> OptimizerRun:
    """Bring intensity and profiles up to date, solve, and store inputs, solver status and mixes.

    A provider that does not answer is no reason to stop: the last known intensity serves until it is stale.
    """
    settings, now = context.settings, context.clock.now()
    try:
        refresh(context, provider)
    except IntensityUnavailable as exc:
        log.warning("carbon intensity: %s", exc.message)
    with context.database.transaction() as connection:
        measured = results.measured_profiles(connection, TENANT, settings.served_name, now - PAST)
        profiles.put(connection, TENANT, settings.served_name, measured, now)
        known = {*mixes.current(connection, TENANT), *(profile.workload for profile in measured)}
        return _solve(context, connection, TENANT, known, now)


def ensure_mixes(context: Context, connection: Connection, tenant: str, workloads: Iterable[str]) -> None:
    """Give workloads that were never seen a mix at once, instead of at the end of the period."""
    known = set(mixes.current(connection, tenant))
    if not set(workloads) <= known:
        _solve(context, connection, tenant, known | set(workloads), context.clock.now())


def _solve(
    context: Context, connection: Connection, tenant: str, workloads: Iterable[str], now: datetime
) -> OptimizerRun:
    settings = context.settings
    options = _options(connection, settings, tenant, sorted(workloads))
    point = intensity.latest(connection, settings.zone, settings.intensity_basis, now)
    hour = hour_of(now)
    past = intensity.between(connection, settings.zone, settings.intensity_basis, hour - PAST, hour + HOUR)
    phi = dirtiness(point.intensity_g_per_kwh, [p.intensity_g_per_kwh for p in past]) if point else 0.0
    rule = FloorRule(xi=settings.xi, kept_at_l0=settings.kept_at_l0)
    inputs = {
        "zone": settings.zone,
        "intensity": {**asdict(point), "start": point.start.isoformat()} if point else None,
        "past_hours": len(past),
        "phi": phi,
        "rule": asdict(rule),
        "hardware": asdict(context.hardware),
        "workloads": [_described(option) for option in options],
    }
    try:
        if point is None or age_hours(point, now) * HOUR > STALE_INTENSITY:
            raise InvalidInput(f"No recent carbon intensity of zone {settings.zone} is known.")
        solution = optimize(
            [option.workload for option in options],
            levels=settings.levels,
            intensity_g_per_kwh=point.intensity_g_per_kwh,
            phi=phi,
            hardware=context.hardware,
            rule=rule,
        )
    except (InvalidInput, OptimizerFailed) as exc:
        return _fall_back(connection, settings, tenant, options, inputs, exc.message, now)
    return _store(connection, tenant, options, solution, inputs, now)


def _options(connection: Connection, settings: Settings, tenant: str, workloads: Sequence[str]) -> Sequence[Options]:
    known = {
        (entry.workload, entry.level): entry for entry in profiles.all_of(connection, tenant, settings.served_name)
    }
    tallies = verdicts.tallies(connection, tenant, settings.served_name)
    served = {name: sum(entry.requests for entry in known.values() if entry.workload == name) for name in workloads}
    total = sum(served.values())
    belief = prior(settings)
    found = []
    for name in workloads:
        levels, evidence = _levels(name, settings.levels, known, tallies, belief)
        share = served[name] / total if total else 1 / len(workloads)
        found.append(Options(workload=WorkloadOptions(workload=name, share=share, levels=levels), evidence=evidence))
    return found


def _levels(
    workload: str,
    levels: int,
    known: Mapping[tuple[str, int], Profile],
    tallies: Mapping[tuple[str, int], Tally],
    belief: Prior | None,
) -> tuple[dict[int, LevelOption], Evidence]:
    """L0, and the levels of which both the use and the quality are known or declared."""
    base = known.get((workload, L0))
    l0 = LevelOption(energy_j=base.energy_j, device_s=base.device_s, win_rate=EVEN) if base else NOMINAL
    usable, evidence = {L0: l0}, {Evidence.NONE}
    for level in range(1, levels):
        judged = quality(tallies.get((workload, level), Tally()), belief.tallies[level] if belief else None)
        profile = known.get((workload, level))
        thin = base is None or profile is None or min(base.requests, profile.requests) < ENOUGH_REQUESTS
        if judged is None:
            continue
        if belief is not None and thin:
            energy_j, device_s = l0.energy_j * belief.relative_energy[level], l0.device_s * belief.relative_time[level]
        elif base is not None and profile is not None:
            energy_j, device_s = profile.energy_j, profile.device_s
        else:
            continue
        usable[level] = LevelOption(energy_j=energy_j, device_s=device_s, win_rate=judged.win_rate)
        evidence.add(judged.evidence)
    return usable, next(weakest for weakest in WEAKEST_FIRST if weakest in evidence)


def _described(option: Options) -> dict[str, Any]:
    levels = {f"L{level}": asdict(figures) for level, figures in option.workload.levels.items()}
    return {
        "workload": option.workload.workload,
        "share": option.workload.share,
        "evidence": option.evidence,
        "levels": levels,
    }


def _store(
    connection: Connection,
    tenant: str,
    options: Sequence[Options],
    solution: Solution,
    inputs: Mapping[str, Any],
    now: datetime,
) -> OptimizerRun:
    run = OptimizerRun(
        id=new_id("run_"),
        created_at=now,
        outcome="solved",
        solver_status=solution.solver_status,
        reason=f"every workload keeps {solution.floor:.1%} of its own L0 quality",
        inputs={**inputs, "floor": solution.floor},
    )
    found = [
        _mix(
            option,
            solution.mixes[option.workload.workload],
            now,
            binding=option.workload.workload in solution.binding,
        )
        for option in options
    ]
    mixes.add(connection, tenant, run, found)
    return run


def _fall_back(
    connection: Connection,
    settings: Settings,
    tenant: str,
    options: Sequence[Options],
    inputs: Mapping[str, Any],
    fault: str,
    now: datetime,
) -> OptimizerRun:
    """Keep the last good mixes while they are fresh, else go to L0; either way say why."""
    last = mixes.newest_solved(connection, tenant)
    fresh = last is not None and now - last.created_at <= STALE_MIX
    run = OptimizerRun(
        id=new_id("run_"),
        created_at=now,
        outcome="last_good" if fresh else "l0",
        solver_status="not solved",
        reason=f"{fault} {'The last good mixes stay' if fresh else 'Everything runs at L0'}.",
        inputs=inputs,
    )
    log.warning("directive mixes: %s", run.reason)
    kept = mixes.current(connection, tenant) if fresh else {}
    at_l0 = (1.0, *(0.0 for _ in range(settings.levels - 1)))
    missing = [option for option in options if option.workload.workload not in kept]
    mixes.add(connection, tenant, run, [_mix(option, at_l0, now, binding=False) for option in missing])
    return run


def _mix(option: Options, probabilities: tuple[float, ...], now: datetime, *, binding: bool) -> DirectiveMix:
    return DirectiveMix(
        id=new_id("mix_"),
        workload=option.workload.workload,
        probabilities=probabilities,
        evidence=option.evidence,
        binding=binding,
        created_at=now,
    )


def current(context: Context, tenant: str) -> tuple[OptimizerRun | None, Sequence[DirectiveMix]]:
    """The latest run and the mix of every workload."""
    with context.database.transaction() as connection:
        return mixes.newest_run(connection, tenant), list(mixes.current(connection, tenant).values())
