"""Deciding about rounds of evaluation, tick by tick: does one open, and is it drained?

The trigger opens a round, the gate drains it (`app.domain.trigger`). A round may emit a share of what was served since
the last one; how many prompts that pays for follows from what a prompt has cost so far. Every decision is kept with its
reason.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection

from app.domain.attribution import Use
from app.domain.directive import L0
from app.domain.intensity import HOUR
from app.domain.judging import Kind
from app.domain.sampling import allocate
from app.domain.trigger import Opening, Trigger, gate_is_open
from app.domain.units import hour_of
from app.domain.workload import floor_of
from app.services import capacity, deployment, drift, forecasts, intensity, judging
from app.services.context import Context
from app.services.dispatch import ring_for_round
from app.store import candidates, profiles, samples, verdicts
from app.store import intensity as stored_intensity
from app.store import rounds as stored
from app.store.candidates import Candidates
from app.store.database import TENANT
from app.store.ids import new_id
from app.store.rounds import Round, RoundDecision

log = logging.getLogger(__name__)

RECENT = timedelta(hours=24)
"""Requests of at least this time are sampled from; of all since the last round where that is longer ago."""

ASKED_AGAIN = timedelta(days=30)
"""Age of its verdicts at which a request may be asked about again."""

ENOUGH = 300
"""Verdicts on a level of a workload below which the next round is urgent; the same as in replay."""

KEPT = timedelta(days=30)
"""For which decisions are kept."""

MOST_PER_ROUND = 1000
"""Prompts, as in the paper."""


@dataclass(frozen=True, kw_only=True)
class Hour:
    """The grid as a decision sees it."""

    zone: str
    intensity_g_per_kwh: float
    past: Sequence[float]
    ahead: Sequence[float]


def consider(context: Context) -> str:
    """One tick: decide for every model that is served, and ring for rounds that may run. Returns what was decided."""
    settings, now = context.settings, context.clock.now()
    with context.database.transaction() as connection:
        models = sorted({settings.home_model, *capacity.served(connection, settings, now)})
    decided = [_consider(context, model) for model in models]
    with context.database.transaction() as connection:
        stored.forget_decisions(connection, now - KEPT)
        old = now - timedelta(seconds=settings.sample_retention_s)
        samples.forget(connection, old)
        verdicts.forget_replies(connection, old)
    return "; ".join(f"{each.model}: {each.reason}" for each in decided)


def _consider(context: Context, model: str) -> RoundDecision:
    now = context.clock.now()
    with context.database.transaction() as connection:
        dropped = drift.find(context, connection, TENANT, model, now)
        hour = _cleanest(context, connection, model, now)
        decision = _decide(context, connection, model, hour, now, dropped=dropped)
        stored.decide(connection, decision)
    if dropped:
        drift.act(context)
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
    hour = hour_of(now)
    past = stored_intensity.between(connection, best.zone, settings.basis, hour - intensity.PAST, hour + HOUR)
    ahead = forecasts.expected(connection, settings, best.zone, now)
    return Hour(
        zone=best.zone,
        intensity_g_per_kwh=best.intensity_g_per_kwh,
        past=[point.intensity_g_per_kwh for point in past] or [best.intensity_g_per_kwh],
        ahead=[point.intensity_g_per_kwh for point in ahead if point.start > hour],
    )


def _decide(
    context: Context, connection: Connection, model: str, hour: Hour | None, now: datetime, *, dropped: bool
) -> RoundDecision:
    decision = RoundDecision(
        tenant_id=TENANT,
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
    found, why = _open_round(context, connection, model, hour, now, dropped=dropped)
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
    fault = f"; its judge could not be asked: {found.fault}" if found.fault else ""
    return f"drained: {'the round is forced' if found.forced else grid}{fault}"


def _open_round(
    context: Context, connection: Connection, model: str, hour: Hour, now: datetime, *, dropped: bool
) -> tuple[Round | None, str]:
    """The open round, a new one if the trigger says so, or why there is none."""
    newest = next(iter(stored.newest(connection, TENANT, model)), None)
    if newest is not None and newest.closed_at is None:
        over = _over(context, connection, newest)
        if not over:
            if dropped and not newest.forced:
                stored.force(connection, newest.id, Opening.FORCED)
                newest = replace(newest, forced=True)
            return newest, ""
        stored.close(connection, newest.id, now)
        return None, f"the last round ended: {over}"
    since = newest.opened_at if newest else stored.first_served_at(connection, TENANT, model)
    if since is None:
        return None, "nothing has been served yet"
    idle_h = int((now - since) / HOUR)
    thin = _thin(context, connection, model)
    opening = Trigger().opening(
        idle_h=idle_h, intensity=hour.intensity_g_per_kwh, past=hour.past, forecast=hour.ahead, urgent=bool(thin)
    )
    if opening is Opening.NO and not dropped:
        return None, f"the last round is {idle_h} h ago, and a cleaner hour is worth waiting for"
    return _new_round(context, connection, model, hour, since, opening, now, forced=dropped)


def _over(context: Context, connection: Connection, found: Round) -> str:
    """Why a round is over; empty while it is not."""
    settings = context.settings
    progress = samples.progress(connection, found.id)
    if not progress.waiting:
        return f"{progress.judged} prompts judged, {progress.failed} failed"
    if progress.spent_g >= found.budget_g:
        return f"its budget of {found.budget_g:.3g} g is used up"
    asked = found.judge_prompt_tokens + found.judge_completion_tokens
    cost = (
        found.judge_prompt_tokens * settings.judge_price_in + found.judge_completion_tokens * settings.judge_price_out
    ) / 1e6
    if found.judge_requests >= settings.judge_max_requests:
        return f"its judge was asked {found.judge_requests} times, SPROUT_JUDGE_MAX_REQUESTS"
    if asked >= settings.judge_max_tokens:
        return f"its judge used {asked} tokens, SPROUT_JUDGE_MAX_TOKENS"
    if settings.judge_max_cost is not None and cost >= settings.judge_max_cost:
        return f"its judge cost {cost:.2f}, SPROUT_JUDGE_MAX_COST"
    return ""


def _counts(context: Context, connection: Connection, model: str) -> Mapping[tuple[str, int], float]:
    """Verdicts that count, per workload and level."""
    settings = context.settings
    found = verdicts.counted(
        connection,
        TENANT,
        model,
        deployment.fingerprints(connection, settings, model),
        kind=Kind.PREFERENCE,
        now=context.clock.now(),
        half_life_s=settings.verdict_half_life_s,
    )
    counts: dict[tuple[str, int], float] = {}
    for each in found:
        counts[each.workload, each.level] = counts.get((each.workload, each.level), 0.0) + each.tally.verdicts
    return counts


def _thin(context: Context, connection: Connection, model: str) -> Sequence[str]:
    """Workloads with traffic of which some level has too few verdicts."""
    counts = _counts(context, connection, model)
    seen = profiles.traffic(connection, TENANT, model, context.clock.now() - intensity.PAST)
    floors: dict[str, dict[int, float]] = {floor_of(name): {} for name in seen}
    for (name, level), number in counts.items():
        if floor_of(name) in floors:
            levels = floors[floor_of(name)]
            levels[level] = levels.get(level, 0.0) + number
    others = range(L0 + 1, context.settings.levels)
    return [name for name, levels in floors.items() if any(levels.get(level, 0.0) < ENOUGH for level in others)]


def _new_round(
    context: Context,
    connection: Connection,
    model: str,
    hour: Hour,
    since: datetime,
    opening: Opening,
    now: datetime,
    *,
    forced: bool,
) -> tuple[Round | None, str]:
    settings = context.settings
    among = Candidates(
        tenant=TENANT,
        model=model,
        since=min(since, now - RECENT),
        not_asked_since=now - ASKED_AGAIN,
        with_reference=not judging.is_there(settings),
    )
    shares = candidates.traffic(connection, among)
    if not shares:
        nobody = " with a reference answer, and no judge may be asked: see SPROUT_JUDGE" if among.with_reference else ""
        return None, f"there is no recent request left to ask about{nobody}"
    budget_g = settings.evaluation_budget * stored.served_g(connection, TENANT, model, since)
    each_g = _sample_g(context, connection, model, hour)
    number = min(int(budget_g / each_g) if each_g else MOST_PER_ROUND, MOST_PER_ROUND)
    if number < 1:
        return None, f"the budget has grown to {budget_g:.3g} g, and a prompt takes about {each_g:.3g} g"
    known: dict[str, float] = {}
    for (name, _), verdict_count in _counts(context, connection, model).items():
        known[name] = known.get(name, 0.0) + verdict_count / max(settings.levels - 1, 1)
    wanted = allocate(number, shares=shares, verdicts=known, available=shares)
    found = Round(
        id=new_id("round_"),
        tenant_id=TENANT,
        model=model,
        reason="a level has become worse than it was" if forced else opening,
        forced=forced or opening is Opening.FORCED,
        budget_g=budget_g,
        requests=sum(wanted.values()),
        opened_at=now,
    )
    stored.add(connection, found)
    candidates.draw(connection, among, round_id=found.id, wanted=wanted, now=now)
    log.info("round %s of %s opens (%s): %d prompts for %.3g g", found.id, model, found.reason, number, budget_g)
    return found, ""


def _sample_g(context: Context, connection: Connection, model: str, hour: Hour) -> float:
    """Expected gCO2eq of a prompt that is answered at all levels and judged: as in the past, else by profiles."""
    use = samples.mean_use(connection, TENANT, model)
    if use is None:
        base = profiles.typical(connection, model, L0) or Use()
        levels = [profiles.typical(connection, model, level) or base for level in range(context.settings.levels)]
        use = Use(energy_j=sum(each.energy_j for each in levels), device_s=sum(each.device_s for each in levels))
    return context.hardware.price(
        energy_j=use.energy_j, device_s=use.device_s, intensity_g_per_kwh=hour.intensity_g_per_kwh
    ).total_g
