"""Recomputing the directive mixes: look, let the policy decide, store the mixes and why."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from app.domain.errors import IntensityUnavailable, InvalidInput, NotFound, OptimizerFailed
from app.domain.optimizer import FloorRule
from app.domain.policy import Decision, DirectivePolicy
from app.domain.workload import floor_of
from app.ports import IntensityProvider
from app.services import explanation, observation
from app.services.context import Context
from app.services.intensity import refresh
from app.settings import Settings
from app.store import mixes, profiles
from app.store.database import TENANT
from app.store.ids import new_id
from app.store.mixes import DirectiveMix, OptimizerRun

log = logging.getLogger(__name__)

PATIENCE_S = 60.0
"""For figures that another thread is fetching: what is decided without them stays for a period."""

STALE_MIX = timedelta(hours=24)
"""A last good mix is kept for this long when no new one can be computed."""

UNEXPLAINED: Mapping[str, Any] = {"share": None, "base_quality": None, "verdicts": None, "levels": {}}
"""A mix from before its reasons were stored."""


def ours(settings: Settings) -> DirectivePolicy:
    """The policy of live service: the same object that is replayed over recorded history."""
    rule = FloorRule(
        mode=settings.floor_mode,
        xi=settings.xi,
        quality_worth=settings.quality_worth,
        kept_at_l0=settings.kept_at_l0,
    )
    return DirectivePolicy(name="OURS", rule=rule, confidence=settings.confidence)


def recompute(context: Context, provider: IntensityProvider) -> Sequence[OptimizerRun]:
    """Bring intensity and profiles up to date, decide for every zone, and store inputs, solver status and mixes.

    A provider that does not answer is no reason to stop: the last known intensity serves until it is stale.
    """
    refresh(context, provider, wait_s=PATIENCE_S)
    settings, now = context.settings, context.clock.now()
    with context.database.transaction() as connection:
        measured = profiles.measured(
            connection, TENANT, settings.served_name, now=now, half_life_s=settings.profile_half_life_s
        )
        profiles.put(connection, TENANT, settings.served_name, measured, now)
        names = {profile.workload for profile in measured}
        return [
            _decide(context, connection, TENANT, zone, names | set(mixes.current(connection, TENANT, zone)), now)
            for zone in settings.all_zones
        ]


def ensure_mixes(context: Context, connection: Connection, tenant: str, workloads: Iterable[str]) -> None:
    """Give workloads that were never seen a mix at once, instead of at the end of the period."""
    wanted = set(workloads)
    for zone in context.settings.all_zones:
        known = set(mixes.current(connection, tenant, zone))
        if wanted - known:
            _decide(context, connection, tenant, zone, known | wanted, context.clock.now())


def _decide(
    context: Context, connection: Connection, tenant: str, zone: str, workloads: Iterable[str], now: datetime
) -> OptimizerRun:
    settings = context.settings
    policy = ours(settings)
    situation = observation.look(connection, settings, tenant, workloads, now, zone)
    inputs = explanation.inputs(policy, situation, context.hardware)
    try:
        decision = policy.decide(situation.observation(settings.levels, context.hardware))
    except (IntensityUnavailable, InvalidInput, OptimizerFailed) as exc:
        return _fall_back(connection, settings, tenant, zone, inputs, exc.message, now)
    reason = explanation.kept(policy, situation.workloads, decision)
    return _store(connection, tenant, zone, decision, inputs, reason, now)


def _store(
    connection: Connection,
    tenant: str,
    zone: str,
    decision: Decision,
    inputs: Mapping[str, Any],
    reason: str,
    now: datetime,
) -> OptimizerRun:
    run = OptimizerRun(
        id=new_id("run_"),
        zone=zone,
        created_at=now,
        outcome="solved",
        solver_status=decision.solver_status,
        reason=reason,
        inputs={**inputs, "floor_fraction": decision.floor},
    )
    found = [
        _mix(name, inputs, probabilities, now, binding=name in decision.binding)
        for name, probabilities in decision.mixes.items()
    ]
    mixes.add(connection, tenant, run, found)
    return run


def _fall_back(
    connection: Connection,
    settings: Settings,
    tenant: str,
    zone: str,
    inputs: Mapping[str, Any],
    fault: str,
    now: datetime,
) -> OptimizerRun:
    """Keep the last good mixes while they are fresh, else go to L0; either way say why."""
    last = mixes.newest_solved(connection, tenant, zone)
    fresh = last is not None and now - last.created_at <= STALE_MIX
    run = OptimizerRun(
        id=new_id("run_"),
        zone=zone,
        created_at=now,
        outcome="last_good" if fresh else "l0",
        solver_status="not solved",
        reason=f"{fault} {'The last good mixes stay' if fresh else 'Everything runs at L0'}.",
        inputs={**inputs, "floor_fraction": None},
    )
    log.warning("directive mixes: %s", run.reason)
    kept = mixes.current(connection, tenant, zone) if fresh else {}
    at_l0 = (1.0, *(0.0 for _ in range(settings.levels - 1)))
    missing = [name for name in inputs["workloads"] if name not in kept]
    mixes.add(connection, tenant, run, [_mix(name, inputs, at_l0, now, binding=False) for name in missing])
    return run


def _mix(
    name: str, inputs: Mapping[str, Any], probabilities: tuple[float, ...], now: datetime, *, binding: bool
) -> DirectiveMix:
    return DirectiveMix(
        id=new_id("mix_"),
        workload=name,
        probabilities=probabilities,
        evidence=inputs["workloads"][name]["evidence"],
        binding=binding,
        created_at=now,
    )


def explained(context: Context, tenant: str, zone: str | None = None) -> Mapping[str, Any]:
    """The latest run and the mix of every workload in a zone, each mix with what the run that gave it knew of the
    workload; the default zone's where none is named.

    Raises:
        NotFound: no worker can be in that zone.
    """
    where = zone or context.settings.all_zones[0]
    if where not in context.settings.all_zones:
        raise NotFound(f"There is no zone '{where}': SPROUT_ZONES names {', '.join(context.settings.all_zones)}.")
    with context.database.transaction() as connection:
        run = mixes.newest_run(connection, tenant, where)
        found = mixes.current(connection, tenant, where).values()
        reasons = mixes.reasons(connection, [mix.id for mix in found])
    return {
        "run": _run(run) if run else None,
        "mixes": [
            {**UNEXPLAINED, "floor": floor_of(mix.workload), **reasons.get(mix.id, {}), **asdict(mix)} for mix in found
        ],
    }


def _run(run: OptimizerRun) -> Mapping[str, Any]:
    values = asdict(run)
    inputs = {name: value for name, value in values.pop("inputs").items() if name != "workloads"}
    return {**values, **inputs}
