"""Sampled prompts with their answers, as people vote on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Integer, Text, and_, cast, column, func, select, tuple_

from app.domain.directive import L0
from app.domain.judging import Kind
from app.store.quality import evaluation_rounds, evaluation_samples, verdicts
from app.store.tables import batches


@dataclass(frozen=True, kw_only=True)
class Source:
    """Whose answers a sample holds."""

    model: str
    workload: str
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class Answered:
    """A sample of a round that has been answered at every level."""

    ticket: str
    seed: str
    round_id: str
    batch_id: str
    line: int
    source: Source
    endpoint: str
    body: Mapping[str, Any] | None
    answers: Mapping[int, str]
    """By level; like the prompt gone once it is past its retention."""


_COLUMNS = [
    *(
        evaluation_samples.c[name]
        for name in ("ticket", "seed", "round_id", "batch_id", "line", "workload", "fingerprint", "body", "answers")
    ),
    batches.c.endpoint,
]


def _answered(row: Mapping[Any, Any]) -> Answered:
    return Answered(
        **{name: row[name] for name in ("ticket", "seed", "round_id", "batch_id", "line", "endpoint", "body")},
        source=Source(model=row["model"], workload=row["workload"], fingerprint=row["fingerprint"]),
        answers={int(level): text for level, text in (row["answers"] or {}).items()},
    )


def _ended(tenant: str) -> ColumnElement[bool]:
    return and_(
        evaluation_samples.c.tenant_id == tenant,
        evaluation_samples.c.state == "judged",
        evaluation_samples.c.fingerprint.is_not(None),
    )


def get(connection: Connection, tenant: str, ticket: str) -> Answered | None:
    query = (
        select(*_COLUMNS, evaluation_rounds.c.model)
        .join(evaluation_rounds, evaluation_rounds.c.id == evaluation_samples.c.round_id)
        .join(batches, batches.c.id == evaluation_samples.c.batch_id)
        .where(_ended(tenant), evaluation_samples.c.ticket == ticket)
    )
    row = connection.execute(query).mappings().first()
    return _answered(row) if row else None


def sources(connection: Connection, tenant: str) -> Sequence[Source]:
    """Whose answers there are to vote on."""
    query = (
        select(evaluation_rounds.c.model, evaluation_samples.c.workload, evaluation_samples.c.fingerprint)
        .join(evaluation_rounds, evaluation_rounds.c.id == evaluation_samples.c.round_id)
        .where(_ended(tenant), evaluation_samples.c.body.is_not(None))
        .distinct()
    )
    return [Source(**row) for row in connection.execute(query).mappings()]


@dataclass(frozen=True, kw_only=True)
class Voter:
    tenant: str
    judge: str
    """What people are called among the judges."""
    name: str


def open_pairs(
    connection: Connection, voter: Voter, among: Sequence[Source], *, levels: int, limit: int, offset: int
) -> Sequence[tuple[Answered, int]]:
    """Samples, each with a level on which this voter has not voted and nothing is settled without asking.

    Prompts that are new to the voter come first: L0's answer is in all pairs of a prompt, and can be told by that. Then
    pairs with the fewest votes. Among equals chance decides, so that the order tells nothing about the level.
    """
    shown = func.generate_series(1, levels - 1).table_valued(column("level", Integer)).render_derived(name="shown")
    source = tuple_(evaluation_rounds.c.model, evaluation_samples.c.workload, evaluation_samples.c.fingerprint)
    by_people, by_voter = verdicts.c.judge == voter.judge, verdicts.c.judge_model == voter.name
    this_level = verdicts.c.level == shown.c.level
    unasked = and_(verdicts.c.when_first.is_(None), verdicts.c.when_second.is_(None))
    query = (
        select(*_COLUMNS, evaluation_rounds.c.model, shown.c.level)
        .join(evaluation_rounds, evaluation_rounds.c.id == evaluation_samples.c.round_id)
        .join(batches, batches.c.id == evaluation_samples.c.batch_id)
        .join(shown, evaluation_samples.c.answers.has_key(cast(shown.c.level, Text)))
        .where(
            _ended(voter.tenant),
            evaluation_samples.c.body.is_not(None),
            evaluation_samples.c.answers.has_key(str(L0)),
            source.in_([(each.model, each.workload, each.fingerprint) for each in among]),
            _number(by_people, by_voter, this_level) == 0,
            _number(unasked, this_level) == 0,
        )
        .order_by(
            _number(by_people, by_voter),
            _number(by_people, this_level),
            func.md5(func.concat(evaluation_samples.c.seed, shown.c.level, voter.name)),
        )
        .limit(limit)
        .offset(offset)
    )
    return [(_answered(row), row["level"]) for row in connection.execute(query).mappings()]


def _number(*conditions: ColumnElement[bool]) -> ColumnElement[int]:
    """Of preferences between a sample's answers."""
    of_sample = and_(
        verdicts.c.batch_id == evaluation_samples.c.batch_id,
        verdicts.c.line == evaluation_samples.c.line,
        verdicts.c.fingerprint == evaluation_samples.c.fingerprint,
        verdicts.c.kind == Kind.PREFERENCE,
    )
    return select(func.count()).select_from(verdicts).where(of_sample, *conditions).scalar_subquery()
