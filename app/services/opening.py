"""Opening a round of evaluation: which requests it asks about, and how many its budget pays for."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from app.domain.attribution import Use
from app.domain.directive import L0
from app.domain.sampling import MOST_PER_ROUND, allocate
from app.domain.trigger import Opening
from app.services import evidence, judging
from app.services.context import Context
from app.store import candidates, profiles, rounds, samples
from app.store.candidates import Candidates
from app.store.ids import new_id
from app.store.rounds import Round

log = logging.getLogger(__name__)

RECENT = timedelta(hours=24)
"""Requests of at least this time are sampled from; of all since the last round where that is longer ago."""

ASKED_AGAIN = timedelta(days=30)
"""Age of its verdicts at which a request may be asked about again."""

WORSE = "a level has become worse than it was"
"""Why a round is opened or forced, where the trigger does not."""


@dataclass(frozen=True, kw_only=True)
class Hour:
    """The grid as a decision sees it."""

    zone: str
    intensity_g_per_kwh: float
    past: Sequence[float]
    ahead: Sequence[float]


def open_round(
    context: Context,
    connection: Connection,
    tenant: str,
    model: str,
    hour: Hour,
    since: datetime,
    opening: Opening,
    now: datetime,
    *,
    forced: bool,
) -> tuple[Round | None, str]:
    """A new round, or why none can be opened. `since`: when the last one was opened, or the first request served."""
    settings, among = context.settings, recent(context, tenant, model, since, now)
    shares = candidates.traffic(connection, among)
    if not shares:
        agreed = "SPROUT_JUDGE_TENANTS" if settings.judge == "openai" else "SPROUT_JUDGE"
        nobody = f" with a reference answer, and no judge may be asked: see {agreed}" if among.with_reference else ""
        return None, f"there is no recent request left to ask about{nobody}"
    budget_g = settings.evaluation_budget * rounds.served_g(connection, tenant, model, since)
    each_g = _sample_g(context, connection, tenant, model, hour)
    number = min(int(budget_g / each_g) if each_g else MOST_PER_ROUND, MOST_PER_ROUND)
    if number < 1:
        return None, f"the budget has grown to {budget_g:.3g} g, and a prompt takes about {each_g:.3g} g"
    known = evidence.per_workload(context, connection, tenant, model)
    wanted = allocate(number, shares=shares, verdicts=known, available=shares)
    reason, passes_gate = (WORSE, True) if forced else (opening, opening.forced)
    return _add(connection, among, wanted, budget_g=budget_g, reason=reason, forced=passes_gate, now=now), ""


def recent(context: Context, tenant: str, model: str, since: datetime, now: datetime) -> Candidates:
    """Whom a round that is opened now may ask about."""
    return Candidates(
        tenant=tenant,
        model=model,
        since=min(since, now - RECENT),
        not_asked_since=now - ASKED_AGAIN,
        with_reference=not judging.is_there(context.settings, tenant),
    )


def _add(
    connection: Connection,
    among: Candidates,
    wanted: Mapping[str, int],
    *,
    budget_g: float,
    reason: str,
    forced: bool,
    now: datetime,
) -> Round:
    found = Round(
        id=new_id("round_"),
        tenant_id=among.tenant,
        model=among.model,
        reason=reason,
        forced=forced,
        budget_g=budget_g,
        requests=sum(wanted.values()),
        opened_at=now,
    )
    rounds.add(connection, found)
    candidates.draw(connection, among, round_id=found.id, wanted=wanted, now=now)
    log.info(
        "round %s of %s opens (%s): %d prompts for %.3g g", found.id, found.model, reason, found.requests, budget_g
    )
    return found


def _sample_g(context: Context, connection: Connection, tenant: str, model: str, hour: Hour) -> float:
    """Expected gCO2eq of a prompt that is answered at all levels and judged: as in the past, else by profiles."""
    use = samples.mean_use(connection, tenant, model)
    if use is None:
        base = profiles.typical(connection, model, L0) or Use()
        levels = [profiles.typical(connection, model, level) or base for level in range(context.settings.levels)]
        use = Use(energy_j=sum(each.energy_j for each in levels), device_s=sum(each.device_s for each in levels))
    return context.hardware.price(
        energy_j=use.energy_j, device_s=use.device_s, intensity_g_per_kwh=hour.intensity_g_per_kwh
    ).total_g
