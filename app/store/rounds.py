"""Rounds of evaluation, and what was decided about them tick by tick."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, func, insert, or_, select, update

from app.store.quality import evaluation_decisions, evaluation_rounds, evaluation_samples
from app.store.tables import results


@dataclass(frozen=True, kw_only=True)
class Round:
    id: str
    tenant_id: str
    model: str
    reason: str
    forced: bool
    """Whether it is drained past the gate."""
    budget_g: float
    requests: int
    """Prompts that were sampled for it."""
    opened_at: datetime
    closed_at: datetime | None = None
    judge_requests: int = 0
    judge_prompt_tokens: int = 0
    judge_completion_tokens: int = 0
    fault: str | None = None
    """Why its judge could not be asked, the last time."""


_NAMES = tuple(field.name for field in fields(Round))
_ROUND = [evaluation_rounds.c[name] for name in _NAMES]


def add(connection: Connection, found: Round) -> None:
    """Raises IntegrityError where the tenant's model has an open round already."""
    connection.execute(insert(evaluation_rounds).values(**asdict(found)))


def lock(connection: Connection, tenant: str, model: str) -> None:
    """Let nobody else decide about this model until the end of the transaction."""
    key = func.hashtextextended(f"sprout.evaluation/{tenant}/{model}", 0)
    connection.execute(select(func.pg_advisory_xact_lock(key)))


def get(connection: Connection, round_id: str) -> Round | None:
    row = connection.execute(select(*_ROUND).where(evaluation_rounds.c.id == round_id)).mappings().first()
    return Round(**row) if row else None


def newest(connection: Connection, tenant: str, model: str, limit: int = 1) -> Sequence[Round]:
    query = (
        select(*_ROUND)
        .where(evaluation_rounds.c.tenant_id == tenant, evaluation_rounds.c.model == model)
        .order_by(evaluation_rounds.c.opened_at.desc())
        .limit(limit)
    )
    return [Round(**row) for row in connection.execute(query).mappings()]


def force(connection: Connection, round_id: str, reason: str) -> None:
    """Let an open round be drained past the gate from now on."""
    connection.execute(
        update(evaluation_rounds).where(evaluation_rounds.c.id == round_id).values(forced=True, reason=reason)
    )


def hold(connection: Connection, round_id: str) -> None:
    """Let an open round wait for the gate from now on."""
    connection.execute(update(evaluation_rounds).where(evaluation_rounds.c.id == round_id).values(forced=False))


def close(connection: Connection, round_id: str, now: datetime) -> None:
    """End a round; samples that nobody has begun are dropped, so that another round may ask about them."""
    connection.execute(
        delete(evaluation_samples).where(
            evaluation_samples.c.round_id == round_id,
            evaluation_samples.c.state == "waiting",
            evaluation_samples.c.answers.is_(None),
        )
    )
    connection.execute(
        update(evaluation_rounds)
        .where(evaluation_rounds.c.id == round_id, evaluation_rounds.c.closed_at.is_(None))
        .values(closed_at=now)
    )


def due(connection: Connection, round_id: str, *, now: datetime, resend: timedelta) -> bool:
    """Whether the bell should ring for a round, because it has not for a while; from then on it has."""
    statement = (
        update(evaluation_rounds)
        .where(
            evaluation_rounds.c.id == round_id,
            or_(evaluation_rounds.c.sent_at.is_(None), evaluation_rounds.c.sent_at <= now - resend),
        )
        .values(sent_at=now)
        .returning(evaluation_rounds.c.id)
    )
    return connection.execute(statement).first() is not None


def unsend(connection: Connection, round_id: str) -> None:
    """Let the bell ring again at the next tick."""
    connection.execute(update(evaluation_rounds).where(evaluation_rounds.c.id == round_id).values(sent_at=None))


def asked(connection: Connection, round_id: str, *, requests: int, prompt_tokens: int, completion_tokens: int) -> None:
    """Add what the judge of a round was asked, and take note that it answered."""
    connection.execute(
        update(evaluation_rounds)
        .where(evaluation_rounds.c.id == round_id)
        .values(
            judge_requests=evaluation_rounds.c.judge_requests + requests,
            judge_prompt_tokens=evaluation_rounds.c.judge_prompt_tokens + prompt_tokens,
            judge_completion_tokens=evaluation_rounds.c.judge_completion_tokens + completion_tokens,
            fault=None,
        )
    )


def failed(connection: Connection, round_id: str, fault: str) -> None:
    connection.execute(update(evaluation_rounds).where(evaluation_rounds.c.id == round_id).values(fault=fault))


def served_g(connection: Connection, tenant: str, model: str, since: datetime) -> float:
    """gCO2eq of what was served since then: requests that were answered or failed, evaluation not included."""
    total = func.coalesce(func.sum(results.c.operational_g + results.c.embodied_g), 0.0)
    query = select(total).where(results.c.tenant_id == tenant, results.c.model == model, results.c.finished_at >= since)
    return float(connection.execute(query).scalar_one())


def first_served_at(connection: Connection, tenant: str, model: str) -> datetime | None:
    query = select(func.min(results.c.finished_at)).where(results.c.tenant_id == tenant, results.c.model == model)
    found: datetime | None = connection.execute(query).scalar_one()
    return found


@dataclass(frozen=True, kw_only=True)
class RoundDecision:
    """What a tick decided for a tenant's model, and why."""

    tenant_id: str
    model: str
    zone: str
    at: datetime
    round_id: str | None
    gate_open: bool
    reason: str
    intensity_g_per_kwh: float | None
    past_mean_g_per_kwh: float | None


_DECISION = [column for column in evaluation_decisions.c if column.name != "id"]


def decide(connection: Connection, found: RoundDecision) -> None:
    connection.execute(insert(evaluation_decisions).values(**asdict(found)))


def decisions(connection: Connection, tenant: str, model: str, limit: int = 1) -> Sequence[RoundDecision]:
    """Newest first."""
    query = (
        select(*_DECISION)
        .where(evaluation_decisions.c.tenant_id == tenant, evaluation_decisions.c.model == model)
        .order_by(evaluation_decisions.c.at.desc(), evaluation_decisions.c.id.desc())
        .limit(limit)
    )
    return [RoundDecision(**row) for row in connection.execute(query).mappings()]


def forget_decisions(connection: Connection, before: datetime) -> None:
    connection.execute(delete(evaluation_decisions).where(evaluation_decisions.c.at < before))
