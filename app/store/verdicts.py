"""Verdicts: comparisons of a level's answer with that of L0."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select
from sqlalchemy import insert as plain_insert
from sqlalchemy.dialects.postgresql import insert

from app.domain.bias import Counted
from app.domain.judging import Kind, Outcome, Vote
from app.domain.preference import Tally
from app.domain.workload import floor_of
from app.store.columns import faded
from app.store.quality import fresh_starts, verdicts

Fingerprints = Callable[[str], str]
"""The fingerprint of a workload's present evidence."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    tenant_id: str
    model: str
    fingerprint: str
    workload: str
    level: int
    batch_id: str
    line: int
    round_id: str | None
    kind: Kind
    outcome: Outcome
    judge: str
    judge_model: str
    prompt_version: str
    when_first: Vote | None
    when_second: Vote | None
    length: int
    """Characters of the level's answer."""
    l0_length: int
    replies: Sequence[str] | None
    created_at: datetime


def add(connection: Connection, found: Iterable[Verdict]) -> int:
    """Store verdicts; those that the same judge has given already stay as they are. Returns how many are new."""
    rows = [asdict(verdict) for verdict in found]
    if not rows:
        return 0
    statement = insert(verdicts).on_conflict_do_nothing(constraint="judged_once").returning(verdicts.c.id)
    return len(connection.execute(statement, rows).all())


def _counting(tenant: str, model: str) -> ColumnElement[bool]:
    """Verdicts that no fresh start has set aside."""
    later = (
        select(fresh_starts.c.id)
        .where(
            fresh_starts.c.tenant_id == verdicts.c.tenant_id,
            fresh_starts.c.model == verdicts.c.model,
            fresh_starts.c.workload == verdicts.c.workload,
            fresh_starts.c.level == verdicts.c.level,
            fresh_starts.c.first_verdict > verdicts.c.id,
        )
        .exists()
    )
    return and_(verdicts.c.tenant_id == tenant, verdicts.c.model == model, ~later)


_JUDGE = func.concat_ws(":", verdicts.c.judge, func.nullif(verdicts.c.judge_model, "")).label("judge")
_LONGER = func.sign(verdicts.c.length - verdicts.c.l0_length).label("longer")
# People and references are asked in no wording, and always.
_ASKED = or_(
    verdicts.c.prompt_version == "", verdicts.c.when_first.is_not(None), verdicts.c.when_second.is_not(None)
).label("asked")


def counted(
    connection: Connection,
    tenant: str,
    model: str,
    fingerprints: Fingerprints,
    *,
    kind: Kind,
    now: datetime,
    half_life_s: float,
) -> Sequence[Counted]:
    """Counts per judge, workload, level, which answer was longer, and whether the judge was asked at all.

    A verdict weighs 2^(-age / half-life).
    """
    groups = (_JUDGE, verdicts.c.workload, verdicts.c.level, verdicts.c.fingerprint, _LONGER, _ASKED)
    query = (
        select(*groups, *_totals(faded(verdicts.c.created_at, now, half_life_s)))
        .where(_counting(tenant, model), verdicts.c.kind == kind)
        .group_by(*groups)
    )
    return [
        Counted(
            judge=row.judge,
            workload=row.workload,
            level=row.level,
            longer=int(row.longer),
            tally=Tally(wins=row.win, ties=row.tie, losses=row.loss),
            asked=row.asked,
            pairs=row.pairs,
            first_twice=row.first_twice,
            second_twice=row.second_twice,
        )
        for row in connection.execute(query)
        if row.fingerprint == fingerprints(row.workload)
    ]


def _totals(weight: ColumnElement[float]) -> Iterable[ColumnElement[float]]:
    def total(name: str, *conditions: ColumnElement[bool]) -> ColumnElement[float]:
        return func.coalesce(func.sum(weight).filter(and_(*conditions)), 0.0).label(name)

    first, second = verdicts.c.when_first, verdicts.c.when_second
    yield from (total(outcome, verdicts.c.outcome == outcome) for outcome in Outcome)
    yield total("pairs", first.is_not(None), second.is_not(None))
    yield total("first_twice", first == Vote.LEVEL, second == Vote.L0)
    yield total("second_twice", first == Vote.L0, second == Vote.LEVEL)


def length_ratios(
    connection: Connection, tenant: str, model: str, fingerprints: Fingerprints
) -> Mapping[tuple[str, int], float]:
    """Length of a level's answers over that of L0's to the same prompts, per workload, strata included, and level."""
    cell = [verdicts.c.workload, verdicts.c.level, verdicts.c.fingerprint]
    query = (
        select(*cell, func.sum(verdicts.c.length).label("own"), func.sum(verdicts.c.l0_length).label("base"))
        .where(_counting(tenant, model))
        .group_by(*cell)
    )
    sums: dict[tuple[str, int], tuple[int, int]] = {}
    for row in connection.execute(query):
        if row.fingerprint == fingerprints(row.workload):
            own, base = sums.get((floor_of(row.workload), row.level), (0, 0))
            sums[floor_of(row.workload), row.level] = own + row.own, base + row.base
    return {key: own / base for key, (own, base) in sums.items() if base}


@dataclass(frozen=True, kw_only=True)
class Scored:
    id: int
    workload: str
    level: int
    judge: str
    """And its model, behind a colon."""
    longer: int
    """1 where the level's answer was longer than L0's, -1 where it was shorter; 0 too where the judge was not asked."""
    score: float
    """1 for a win, 1/2 for a tie, 0 for a loss."""
    created_at: datetime


def scores_since(
    connection: Connection, tenant: str, model: str, fingerprints: Fingerprints, since: datetime
) -> Sequence[Scored]:
    """Preferences that count and were recorded from `since` on, in the order in which they were."""
    score = {Outcome.WIN: 1.0, Outcome.TIE: 0.5, Outcome.LOSS: 0.0}
    own = (verdicts.c[name] for name in ("id", "workload", "level", "outcome", "created_at", "fingerprint"))
    query = (
        select(*own, _JUDGE, _LONGER, _ASKED)
        .where(_counting(tenant, model), verdicts.c.kind == Kind.PREFERENCE, verdicts.c.created_at >= since)
        .order_by(verdicts.c.id)
    )
    return [
        Scored(
            id=row.id,
            workload=row.workload,
            level=row.level,
            judge=row.judge,
            longer=int(row.longer) if row.asked else 0,
            score=score[Outcome(row.outcome)],
            created_at=row.created_at,
        )
        for row in connection.execute(query)
        if row.fingerprint == fingerprints(row.workload)
    ]


def start_afresh(
    connection: Connection,
    *,
    tenant: str,
    model: str,
    workload: str,
    level: int,
    first_verdict: int,
    reason: str,
    now: datetime,
) -> None:
    """Let verdicts on a level from before the one of this id count no longer."""
    connection.execute(
        plain_insert(fresh_starts).values(
            tenant_id=tenant,
            model=model,
            workload=workload,
            level=level,
            first_verdict=first_verdict,
            reason=reason,
            created_at=now,
        )
    )
