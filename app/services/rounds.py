"""Deciding about rounds of evaluation, tick by tick: does one open, and is it drained?

The trigger opens a round, the gate drains it (`app.domain.trigger`). A round may emit a share of what was served since
the last one; how many prompts that pays for follows from what a prompt has cost so far. Every decision is kept with its
reason.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import Connection

from app.domain.intensity import HOUR
from app.domain.policy import FEWEST_VERDICTS
from app.domain.trigger import ENOUGH, PAPER_LONGEST_IDLE_H, Opening, Trigger, gate_is_open
from app.domain.units import hour_of
from app.domain.workload import floor_of
from app.ports import Task
from app.services import capacity, drift, evidence, forecasts, intensity, judge_limits
from app.services.context import Context
from app.services.dispatch import ring, ring_for_round
from app.services.opening import WORSE, Hour, open_round, recent
from app.store import candidates, samples, tenants, verdicts
from app.store import rounds as stored
from app.store.rounds import Round, RoundDecision

log = logging.getLogger(__name__)

KEPT = timedelta(days=30)
"""For which decisions are kept."""


def consider(context: Context) -> str:
    """One tick: decide for every tenant and every model that is served, and ring for rounds that may run. Returns what
    was decided."""
    settings, now = context.settings, context.clock.now()
    with context.database.transaction() as connection:
        models = sorted({settings.home_model, *capacity.served(connection, settings, now)})
        everybody = tenants.names(connection)
    decided = [_consider(context, tenant, model) for tenant in everybody for model in models]
    with context.database.transaction() as connection:
        stored.forget_decisions(connection, now - KEPT)
        old = now - timedelta(seconds=settings.sample_retention_s)
        samples.forget(connection, old)
        verdicts.forget_replies(connection, old)
    several = len(everybody) > 1
    return "; ".join(f"{f'{each.tenant_id}, ' * several}{each.model}: {each.reason}" for each in decided)


def _consider(context: Context, tenant: str, model: str) -> RoundDecision:
    now = context.clock.now()
    with context.database.transaction() as connection:
        stored.lock(connection, tenant, model)
        dropped = drift.find(context, connection, tenant, model, now)
        hour = _cleanest(context, connection, model, now)
        decision = _decide(context, connection, tenant, model, hour, now, dropped=dropped)
        stored.decide(connection, decision)
    if dropped:
        ring(context, Task.RECOMPUTE, "quality has dropped")
    if decision.gate_open and decision.round_id:
        ring_for_round(context, decision.round_id, model, place=context.settings.place_of(decision.zone))
    return decision


def _cleanest(context: Context, connection: Connection, model: str, now: datetime) -> Hour | None:
    """The hour in the cleanest of the zones that have workers of this model; None where no figure is known."""
    settings = context.settings
    there = list(capacity.measured(connection, settings, now, model)) or [settings.all_zones[0]]
    figures = [
        figure for zone in there if (figure := intensity.known(connection, settings.basis, zone, now)) is not None
    ]
    if not figures:
        return None
    best = min(figures, key=lambda figure: figure.intensity_g_per_kwh)
    ahead = forecasts.expected(connection, settings, best.zone, now)
    return Hour(
        zone=best.zone,
        intensity_g_per_kwh=best.intensity_g_per_kwh,
        past=intensity.past(connection, settings, best.zone, now) or [best.intensity_g_per_kwh],
        ahead=[point.intensity_g_per_kwh for point in ahead if point.start > hour_of(now)],
    )


def _decide(
    context: Context,
    connection: Connection,
    tenant: str,
    model: str,
    hour: Hour | None,
    now: datetime,
    *,
    dropped: bool,
) -> RoundDecision:
    decision = RoundDecision(
        tenant_id=tenant,
        model=model,
        zone=hour.zone if hour else context.settings.all_zones[0],
        at=now,
        round_id=None,
        gate_open=False,
        reason="held: no recent carbon intensity is known",
        intensity_g_per_kwh=hour.intensity_g_per_kwh if hour else None,
        past_mean_g_per_kwh=sum(hour.past) / len(hour.past) if hour else None,
    )
    if hour is None:
        return decision
    found, why = _open_round(context, connection, tenant, model, hour, now, dropped=dropped)
    if found is None:
        return replace(decision, reason=f"idle: {why}")
    is_open = gate_is_open(intensity=hour.intensity_g_per_kwh, past=hour.past, forced=found.forced)
    return replace(decision, round_id=found.id, gate_open=is_open, reason=_state(found, decision, is_open=is_open))


def _state(found: Round, decision: RoundDecision, *, is_open: bool) -> str:
    now, mean = decision.intensity_g_per_kwh or 0.0, decision.past_mean_g_per_kwh or 0.0
    side = "at or below" if now <= mean else "above"
    grid = f"{now:.0f} g/kWh is {side} the mean of the past 30 days, {mean:.0f}"
    if not is_open:
        return f"held: {grid}"
    fault = f"; {found.fault.rstrip('.')}" if found.fault else ""
    return f"drained: {'the round is forced' if found.forced else grid}{fault}"


def _open_round(
    context: Context, connection: Connection, tenant: str, model: str, hour: Hour, now: datetime, *, dropped: bool
) -> tuple[Round | None, str]:
    """The open round, a new one if the trigger says so, or why there is none."""
    last, newest = _last_two(connection, tenant, model)
    since = last.opened_at if last else stored.first_served_at(connection, tenant, model)
    if since is None:
        return None, "nothing has been served yet"
    idle_h = int((now - since) / HOUR)
    if newest is not None:
        over = _over(context, connection, newest)
        if over:
            stored.close(connection, newest.id, now)
            return None, f"the last round ended: {over}"
        if newest.forced and newest.reason == Opening.BARE and not _is_bare(context, connection, newest):
            stored.hold(connection, newest.id)
            newest = replace(newest, forced=False)
        if not newest.forced and (dropped or idle_h >= PAPER_LONGEST_IDLE_H):
            stored.force(connection, newest.id, WORSE if dropped else Opening.FORCED)
            newest = replace(newest, forced=True)
        return newest, ""
    fewest = _fewest(context, connection, tenant, model, since, now)
    opening = Trigger().opening(
        idle_h=idle_h,
        intensity=hour.intensity_g_per_kwh,
        past=hour.past,
        forecast=hour.ahead,
        urgent=fewest < ENOUGH,
        bare=fewest < FEWEST_VERDICTS,
    )
    if opening is Opening.NO and not dropped:
        begun = f"the last round is {idle_h} h ago" if last else f"the first request was served {idle_h} h ago"
        wait = "rounds are an hour apart" if idle_h < 1 else "a cleaner hour is worth waiting for"
        return None, f"{begun}, and {wait}"
    return open_round(context, connection, tenant, model, hour, since, opening, now, forced=dropped)


def _is_bare(context: Context, connection: Connection, found: Round) -> bool:
    """Whether a round still asks of a workload on which nothing can rest yet."""
    known = evidence.fewest(context, connection, found.tenant_id, found.model)
    return _thinnest(known, samples.workloads(connection, found.id)) < FEWEST_VERDICTS


def _fewest(context: Context, connection: Connection, tenant: str, model: str, since: datetime, now: datetime) -> float:
    """The fewest verdicts on a workload of which more can be had, as far as that are few."""
    known = evidence.fewest(context, connection, tenant, model)
    fewest = min(known.values(), default=0.0)
    if fewest >= ENOUGH:
        return fewest
    # A workload that keeps out of rounds, or has had nothing new to ask about, does not call for one.
    return _thinnest(known, candidates.traffic(connection, recent(context, tenant, model, since, now)))


def _thinnest(known: Mapping[str, float], workloads: Iterable[str]) -> float:
    """The fewest verdicts on any of `workloads`, or strata; without end where there are none."""
    return min((known.get(name, 0.0) for name in {floor_of(each) for each in workloads}), default=math.inf)


def _last_two(connection: Connection, tenant: str, model: str) -> tuple[Round | None, Round | None]:
    """The last round that has ended, and the open one."""
    newest = stored.newest(connection, tenant, model, 2)
    is_open = bool(newest) and newest[0].closed_at is None
    ended = newest[1:] if is_open else newest
    return next(iter(ended), None), newest[0] if is_open else None


def _over(context: Context, connection: Connection, found: Round) -> str:
    """Why a round is over; empty while it is not."""
    settings = context.settings
    progress = samples.progress(connection, found.id)
    if not progress.waiting:
        fault = f"; {found.fault.rstrip('.')}" if progress.failed and found.fault else ""
        return f"{progress.judged} prompts judged, {progress.failed} failed{fault}"
    if not progress.affordable(found):
        return f"its budget of {found.budget_g:.3g} g is used up"
    return judge_limits.overspent(settings, found)
