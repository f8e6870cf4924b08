"""Sampled requests: what a round asks about, and how far it has come with each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, func, literal, or_, select, update
from sqlalchemy.dialects.postgresql import JSONB

from app.domain.attribution import Use
from app.domain.footprint import Footprint
from app.store.knowledge import directive_mixes
from app.store.quality import evaluation_rounds, evaluation_samples
from app.store.rounds import Round
from app.store.tables import batches, responses, results

MOST_LOSSES = 3
"""A sample whose worker dies this often is given up."""

MOST_REMEMBERED = 1000
"""Samples from which it is known what one takes."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    round_id: str
    tenant_id: str
    batch_id: str
    line: int
    workload: str
    level: int
    """Of the answer that was served."""
    endpoint: str
    body: Mapping[str, Any]
    answers: Mapping[int, str]
    """By level, as far as they are there."""
    fingerprint: str | None
    """Of the directives under which they were given; None before the first."""
    served: Mapping[str, Any]
    """The body of the answer that was served."""
    served_fingerprint: str
    """Of the directives under which it was served."""

    @property
    def key(self) -> str:
        return f"{self.round_id}/{self.batch_id}/{self.line}"


_OWN = ("round_id", "tenant_id", "batch_id", "line", "workload", "level", "body", "answers", "fingerprint")


def lease(
    connection: Connection, round_id: str, *, lease_id: str, limit: int, now: datetime, duration: timedelta
) -> Sequence[Sample]:
    """Take samples that wait, or whose worker fell silent; a sample that has lost too many workers fails instead."""
    _recover(connection, round_id, now)
    free = (
        select(evaluation_samples.c.batch_id, evaluation_samples.c.line)
        .where(evaluation_samples.c.round_id == round_id, evaluation_samples.c.state == "waiting")
        # What was begun is ended first; for the rest tickets are random, so that what a budget cuts off is random too.
        .order_by(evaluation_samples.c.answers.is_(None), evaluation_samples.c.ticket)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("free")
    )
    is_free = and_(evaluation_samples.c.batch_id == free.c.batch_id, evaluation_samples.c.line == free.c.line)
    taken = (
        update(evaluation_samples)
        .where(evaluation_samples.c.round_id == round_id, is_free)
        .values(state="leased", lease_id=lease_id, lease_expires_at=now + duration, updated_at=now)
        .returning(evaluation_samples)
        .cte("taken")
    )
    query = (
        select(
            *(taken.c[name] for name in _OWN),
            batches.c.endpoint,
            responses.c.body.label("served"),
            directive_mixes.c.fingerprint.label("served_fingerprint"),
        )
        .select_from(taken)
        .join(batches, batches.c.id == taken.c.batch_id)
        .join(results, and_(results.c.batch_id == taken.c.batch_id, results.c.line == taken.c.line))
        .join(responses, and_(responses.c.batch_id == results.c.batch_id, responses.c.line == results.c.line))
        .join(directive_mixes, directive_mixes.c.id == results.c.mix_id)
        .order_by(taken.c.batch_id, taken.c.line)
    )
    return [
        Sample(**{**row, "answers": {int(level): text for level, text in (row["answers"] or {}).items()}})
        for row in connection.execute(query).mappings()
    ]


def _recover(connection: Connection, round_id: str, now: datetime) -> None:
    """Let samples wait again whose worker fell silent, and fail those that this happened to too often."""
    mine = evaluation_samples.c.round_id == round_id
    lapsed = and_(mine, evaluation_samples.c.state == "leased", evaluation_samples.c.lease_expires_at <= now)
    losses = evaluation_samples.c.losses + 1
    connection.execute(
        update(evaluation_samples)
        .where(lapsed)
        .values(state="waiting", lease_id=None, lease_expires_at=None, losses=losses, updated_at=now)
    )
    lost = and_(mine, evaluation_samples.c.state == "waiting", evaluation_samples.c.losses >= MOST_LOSSES)
    fault = f"{MOST_LOSSES} workers died while they evaluated it"
    connection.execute(update(evaluation_samples).where(lost).values(state="failed", fault=fault, updated_at=now))


def _same(sample: Sample) -> ColumnElement[bool]:
    return and_(
        evaluation_samples.c.round_id == sample.round_id,
        evaluation_samples.c.batch_id == sample.batch_id,
        evaluation_samples.c.line == sample.line,
    )


def _held(sample: Sample, lease_id: str) -> ColumnElement[bool]:
    return and_(_same(sample), evaluation_samples.c.lease_id == lease_id)


def keep(
    connection: Connection,
    sample: Sample,
    lease_id: str,
    *,
    answers: Mapping[int, str],
    fingerprint: str,
    use: Use,
    footprint: Footprint,
    now: datetime,
    duration: timedelta,
) -> bool:
    """Add answers and what they used to a sample, and renew its lease; False if it is another's by now.

    What was used is added in any case. Answers under another fingerprint are replaced.
    """
    spent = {
        "energy_j": evaluation_samples.c.energy_j + use.energy_j,
        "device_s": evaluation_samples.c.device_s + use.device_s,
        "operational_g": evaluation_samples.c.operational_g + footprint.operational_g,
        "embodied_g": evaluation_samples.c.embodied_g + footprint.embodied_g,
        "updated_at": now,
    }
    nothing = literal({}, JSONB)
    alike = evaluation_samples.c.fingerprint == fingerprint
    known = case((alike, func.coalesce(evaluation_samples.c.answers, nothing)), else_=nothing)
    added = literal(_by_name(answers), JSONB)
    statement = (
        update(evaluation_samples)
        .where(_held(sample, lease_id))
        .values(**spent, answers=known.concat(added), fingerprint=fingerprint, lease_expires_at=now + duration)
    )
    if connection.execute(statement).rowcount:
        return True
    connection.execute(update(evaluation_samples).where(_same(sample)).values(**spent))
    return False


def finish(
    connection: Connection,
    sample: Sample,
    lease_id: str,
    *,
    answers: Mapping[int, str],
    fingerprint: str,
    fault: str | None,
    now: datetime,
) -> bool:
    """End a sample, judged or with a fault, with all answers that were compared; False if it is another's by now."""
    statement = (
        update(evaluation_samples)
        .where(_held(sample, lease_id))
        .values(
            state="failed" if fault else "judged",
            answers=_by_name(answers),
            fingerprint=fingerprint,
            fault=fault,
            lease_id=None,
            lease_expires_at=None,
            updated_at=now,
        )
    )
    return connection.execute(statement).rowcount > 0


def _by_name(answers: Mapping[int, str]) -> Mapping[str, str]:
    return {str(level): text for level, text in answers.items()}


def renew(connection: Connection, round_id: str, lease_id: str, *, now: datetime, duration: timedelta) -> None:
    """Keep what is left of a lease for longer."""
    connection.execute(
        update(evaluation_samples)
        .where(evaluation_samples.c.round_id == round_id, evaluation_samples.c.lease_id == lease_id)
        .values(lease_expires_at=now + duration)
    )


def give_back(connection: Connection, round_id: str, lease_id: str, now: datetime) -> None:
    """Let others take what is left of a lease."""
    connection.execute(
        update(evaluation_samples)
        .where(evaluation_samples.c.round_id == round_id, evaluation_samples.c.lease_id == lease_id)
        .values(state="waiting", lease_id=None, lease_expires_at=None, updated_at=now)
    )


@dataclass(frozen=True, kw_only=True)
class Progress:
    waiting: int
    """Or leased."""
    judged: int
    failed: int
    spent_g: float

    def affordable(self, found: Round) -> int:
        """Prompts for which the budget of a round is still good, at what one has taken so far or was expected to."""
        ended = self.judged + self.failed
        each_g = self.spent_g / ended if ended else found.budget_g / found.requests
        return max(int((found.budget_g - self.spent_g) / each_g), 0) if each_g else self.waiting


def progress(connection: Connection, round_id: str) -> Progress:
    state = evaluation_samples.c.state
    query = select(
        func.count().filter(state.in_(["waiting", "leased"])).label("waiting"),
        func.count().filter(state == "judged").label("judged"),
        func.count().filter(state == "failed").label("failed"),
        func.coalesce(func.sum(evaluation_samples.c.operational_g + evaluation_samples.c.embodied_g), 0.0).label(
            "spent_g"
        ),
    ).where(evaluation_samples.c.round_id == round_id)
    return Progress(**connection.execute(query).mappings().one())


def workloads(connection: Connection, round_id: str) -> Sequence[str]:
    """Of which a round still has something to ask."""
    waits = evaluation_samples.c.state.in_(["waiting", "leased"])
    query = select(evaluation_samples.c.workload).where(evaluation_samples.c.round_id == round_id, waits).distinct()
    return list(connection.execute(query).scalars())


def mean_use(connection: Connection, tenant: str, model: str) -> Use | None:
    """What a prompt of the last rounds took to be answered and judged; None where none was."""
    query = (
        select(evaluation_samples.c.energy_j, evaluation_samples.c.device_s)
        .join(evaluation_rounds, evaluation_rounds.c.id == evaluation_samples.c.round_id)
        .where(
            evaluation_rounds.c.tenant_id == tenant,
            evaluation_rounds.c.model == model,
            evaluation_samples.c.state == "judged",
        )
        .order_by(evaluation_samples.c.updated_at.desc())
        .limit(MOST_REMEMBERED)
        .subquery()
    )
    energy_j, device_s = connection.execute(select(func.avg(query.c.energy_j), func.avg(query.c.device_s))).one()
    return None if energy_j is None else Use(energy_j=float(energy_j), device_s=float(device_s))


@dataclass(frozen=True, kw_only=True)
class Spent:
    energy_j: float
    footprint_g: float


def spent(connection: Connection, tenant: str, model: str, since: datetime) -> Spent:
    """What evaluation has used on rounds that were opened since then."""
    query = (
        select(
            func.coalesce(func.sum(evaluation_samples.c.energy_j), 0.0),
            func.coalesce(func.sum(evaluation_samples.c.operational_g + evaluation_samples.c.embodied_g), 0.0),
        )
        .join(evaluation_rounds, evaluation_rounds.c.id == evaluation_samples.c.round_id)
        .where(
            evaluation_rounds.c.tenant_id == tenant,
            evaluation_rounds.c.model == model,
            evaluation_rounds.c.opened_at >= since,
        )
    )
    energy_j, footprint_g = connection.execute(query).one()
    return Spent(energy_j=float(energy_j), footprint_g=float(footprint_g))


def forget(connection: Connection, before: datetime) -> int:
    """Drop what was said in samples that ended before, or whose round did; returns of how many."""
    closed = select(evaluation_rounds.c.id).where(evaluation_rounds.c.closed_at < before)
    ended = or_(evaluation_samples.c.state.in_(["judged", "failed"]), evaluation_samples.c.round_id.in_(closed))
    old = and_(ended, evaluation_samples.c.updated_at < before, evaluation_samples.c.body.is_not(None))
    # A judge's complaint may cite what it complains of.
    nothing = {"body": None, "answers": None, "fault": None}
    return connection.execute(update(evaluation_samples).where(old).values(nothing)).rowcount
