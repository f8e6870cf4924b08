"""Recomputing the directive mixes: look, let the policy decide, store the mixes and why."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from app.domain.directive import L0
from app.domain.errors import IntensityUnavailable, InvalidInput, NotFound, OptimizerFailed
from app.domain.optimizer import FloorRule
from app.domain.policy import DirectivePolicy, only
from app.domain.workload import floor_of
from app.ports import IntensityProvider
from app.services import capacity, deployment, explanation, observation
from app.services.context import Context
from app.services.intensity import refresh
from app.settings import Settings
from app.store import mixes, profiles, tenants
from app.store.ids import new_id
from app.store.mixes import DirectiveMix, OptimizerRun, Outcome

log = logging.getLogger(__name__)

PATIENCE_S = 60.0
"""For figures that another thread is fetching: what is decided without them stays for a period."""

STALE_MIX = timedelta(hours=24)
"""A last good mix is kept for this long when no new one can be computed."""

UNEXPLAINED: Mapping[str, Any] = {"share": None, "base_quality": None, "verdicts": None, "levels": {}}
"""A mix from before its reasons were stored."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """Whose requests a decision is for, and the zone and the model of the workers that draw from its mixes."""

    tenant: str
    zone: str
    model: str


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
    """Bring intensity and profiles up to date, decide for every tenant, model and zone, and store inputs, solver status
    and mixes.

    A provider that does not answer is no reason to stop: the last known intensity serves until it is stale.
    """
    refresh(context, provider, wait_s=PATIENCE_S)
    settings, now = context.settings, context.clock.now()
    with context.database.transaction() as connection:
        models = capacity.models(connection, settings, now)
        return [
            run
            for tenant in tenants.names(connection)
            for model in models
            for run in _recompute(context, connection, tenant, model, now)
        ]


def _recompute(
    context: Context, connection: Connection, tenant: str, model: str, now: datetime
) -> Sequence[OptimizerRun]:
    half_life_s = context.settings.profile_half_life_s
    measured = profiles.measured(connection, tenant, model, now=now, half_life_s=half_life_s)
    profiles.put(connection, tenant, model, measured, now)
    names = {profile.workload for profile in measured}
    found = []
    for zone in context.settings.all_zones:
        target = Target(tenant=tenant, zone=zone, model=model)
        found.append(_decide(context, connection, target, names | set(_current(connection, target)), now))
    return found


def ensure_mixes(context: Context, connection: Connection, tenant: str, model: str, workloads: Iterable[str]) -> None:
    """Give workloads that a model has never seen a mix at once, instead of at the end of the period."""
    wanted = set(workloads)
    for zone in context.settings.all_zones:
        target = Target(tenant=tenant, zone=zone, model=model)
        known = set(_current(connection, target))
        if wanted - known:
            _decide(context, connection, target, known | wanted, context.clock.now())


def _current(connection: Connection, target: Target) -> Mapping[str, DirectiveMix]:
    return mixes.current(connection, target.tenant, target.zone, target.model)


def _decide(
    context: Context, connection: Connection, target: Target, workloads: Iterable[str], now: datetime
) -> OptimizerRun:
    settings = context.settings
    policy = ours(settings)
    situation = observation.look(connection, settings, target.model, target.tenant, workloads, now, target.zone)
    inputs = explanation.inputs(policy, situation, context.hardware)
    try:
        decision = policy.decide(situation.observation(settings.levels, context.hardware))
    except (IntensityUnavailable, InvalidInput, OptimizerFailed) as exc:
        return _fall_back(connection, settings, target, inputs, exc.message, now)
    return _put(
        connection,
        settings,
        target,
        {**inputs, "floor_fraction": decision.floor},
        decision.mixes,
        now,
        outcome="solved",
        solver_status=decision.solver_status,
        reason=explanation.kept(policy, situation.workloads, decision),
        binding=decision.binding,
    )


def _fall_back(
    connection: Connection,
    settings: Settings,
    target: Target,
    inputs: Mapping[str, Any],
    fault: str,
    now: datetime,
) -> OptimizerRun:
    """Keep the last good mixes while they are fresh, else go to L0; either way say why."""
    last = mixes.newest_solved(connection, target.tenant, target.zone, target.model)
    fresh = last is not None and now - last.created_at <= STALE_MIX
    kept = _current(connection, target) if fresh else {}
    run = _put(
        connection,
        settings,
        target,
        inputs,
        dict.fromkeys((name for name in inputs["workloads"] if name not in kept), only(L0, settings.levels)),
        now,
        outcome="last_good" if fresh else "l0",
        reason=f"{fault} {'The last good mixes stay' if fresh else 'Everything runs at L0'}.",
    )
    log.warning("directive mixes: %s", run.reason)
    return run


def move_to_l0(
    context: Context, connection: Connection, tenant: str, model: str, workload: str, reason: str, now: datetime
) -> None:
    """Let a workload run at L0 in every zone from now on, until the next run finds what is better; nothing else is
    needed for that, neither the broker nor a carbon intensity."""
    settings = context.settings
    for zone in settings.all_zones:
        target = Target(tenant=tenant, zone=zone, model=model)
        names = [name for name in _current(connection, target) if floor_of(name) == workload]
        situation = observation.look(connection, settings, model, tenant, names, now, zone)
        inputs = explanation.inputs(ours(settings), situation, context.hardware)
        at_l0 = dict.fromkeys(names, only(L0, settings.levels))
        _put(connection, settings, target, inputs, at_l0, now, outcome="l0", reason=reason)


def _put(
    connection: Connection,
    settings: Settings,
    target: Target,
    inputs: Mapping[str, Any],
    decided: Mapping[str, tuple[float, ...]],
    now: datetime,
    *,
    outcome: Outcome,
    reason: str,
    solver_status: str = "not solved",
    binding: frozenset[str] = frozenset(),
) -> OptimizerRun:
    """Store a run and the mixes that it decided, by workload."""
    run = OptimizerRun(
        id=new_id("run_"),
        zone=target.zone,
        model=target.model,
        created_at=now,
        outcome=outcome,
        solver_status=solver_status,
        reason=reason,
        inputs={"floor_fraction": None, **inputs},
    )
    fingerprint = deployment.fingerprints(connection, settings, target.model)
    found = [
        DirectiveMix(
            id=new_id("mix_"),
            workload=name,
            probabilities=probabilities,
            evidence=inputs["workloads"][name]["evidence"],
            binding=name in binding,
            created_at=now,
            fingerprint=fingerprint(name),
        )
        for name, probabilities in decided.items()
    ]
    mixes.add(connection, target.tenant, run, found)
    return run


def explained(context: Context, tenant: str, zone: str | None = None, model: str | None = None) -> Mapping[str, Any]:
    """The latest run and the mix of every workload in a zone and with a model, each mix with what the run that gave it
    knew of the workload; the default zone's and the installation's own model's where none is named.

    Raises:
        NotFound: no worker can be in that zone.
    """
    where = zone or context.settings.all_zones[0]
    if where not in context.settings.all_zones:
        raise NotFound(f"There is no zone '{where}': SPROUT_ZONES names {', '.join(context.settings.all_zones)}.")
    with context.database.transaction() as connection:
        target = Target(tenant=tenant, zone=where, model=model or context.settings.home_model)
        run = mixes.newest_run(connection, tenant, where, target.model)
        found = _current(connection, target).values()
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
