"""Optimizer runs and the directive mixes that they gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import ARRAY, Connection, Text, cast, func, insert, select
from sqlalchemy.dialects.postgresql import distinct_on

from app.store.knowledge import directive_mixes, optimizer_runs

Outcome = Literal["solved", "last_good", "l0"]


@dataclass(frozen=True, kw_only=True)
class DirectiveMix:
    id: str
    workload: str
    probabilities: tuple[float, ...]
    evidence: str
    binding: bool
    """Whether the quality floor holds back further saving."""
    created_at: datetime
    fingerprint: str = ""
    """Of the model and the directives that it was decided for."""


@dataclass(frozen=True, kw_only=True)
class OptimizerRun:
    id: str
    zone: str
    model: str
    """Zone and model of the workers that draw from its mixes."""
    created_at: datetime
    outcome: Outcome
    solver_status: str
    reason: str
    inputs: Mapping[str, Any]


def add(connection: Connection, tenant: str, run: OptimizerRun, mixes: Sequence[DirectiveMix]) -> None:
    connection.execute(insert(optimizer_runs).values(tenant_id=tenant, **vars(run)))
    rows = [
        {
            **vars(mix),
            "probabilities": list(mix.probabilities),
            "run_id": run.id,
            "tenant_id": tenant,
            "zone": run.zone,
            "model": run.model,
        }
        for mix in mixes
    ]
    if rows:
        connection.execute(insert(directive_mixes), rows)


def current(connection: Connection, tenant: str, zone: str, model: str) -> Mapping[str, DirectiveMix]:
    """The newest mix of each workload, for the workers of a zone that serve a model."""
    names = ("id", "workload", "probabilities", "evidence", "binding", "fingerprint", "created_at")
    query = (
        select(*(directive_mixes.c[name] for name in names))
        .where(directive_mixes.c.tenant_id == tenant, directive_mixes.c.zone == zone, directive_mixes.c.model == model)
        .ext(distinct_on(directive_mixes.c.workload))
        .order_by(directive_mixes.c.workload, directive_mixes.c.created_at.desc())
    )
    mixes = [
        DirectiveMix(**{**row, "probabilities": tuple(row["probabilities"])})
        for row in connection.execute(query).mappings()
    ]
    return {mix.workload: mix for mix in mixes}


def reasons(connection: Connection, mix_ids: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
    """By mix, what the run that gave it knew of its workload: its entry among the run's inputs."""
    given = select(directive_mixes.c.id, directive_mixes.c.run_id, directive_mixes.c.workload).where(
        directive_mixes.c.id == func.any(cast(list(mix_ids), ARRAY(Text)))
    )
    rows = connection.execute(given).all()
    # Each run's inputs are read once, however many mixes it gave.
    runs = select(optimizer_runs.c.id, optimizer_runs.c.inputs["workloads"]).where(
        optimizer_runs.c.id == func.any(cast(sorted({run_id for _, run_id, _ in rows}), ARRAY(Text)))
    )
    known = dict(connection.execute(runs).all())
    return {
        mix_id: known[run_id][workload] for mix_id, run_id, workload in rows if workload in (known.get(run_id) or {})
    }


def newest_run(connection: Connection, tenant: str, zone: str, model: str) -> OptimizerRun | None:
    names = ("id", "zone", "model", "created_at", "outcome", "solver_status", "reason", "inputs")
    query = (
        select(*(optimizer_runs.c[name] for name in names))
        .where(optimizer_runs.c.tenant_id == tenant, optimizer_runs.c.zone == zone, optimizer_runs.c.model == model)
        .order_by(optimizer_runs.c.created_at.desc())
        .limit(1)
    )
    row = connection.execute(query).mappings().first()
    return OptimizerRun(**row) if row else None


def newest_solved(connection: Connection, tenant: str, zone: str, model: str) -> OptimizerRun | None:
    """The last run whose mixes came from the solver."""
    names = ("id", "zone", "model", "created_at", "outcome", "solver_status", "reason", "inputs")
    query = (
        select(*(optimizer_runs.c[name] for name in names))
        .where(
            optimizer_runs.c.tenant_id == tenant,
            optimizer_runs.c.zone == zone,
            optimizer_runs.c.model == model,
            optimizer_runs.c.outcome == "solved",
        )
        .order_by(optimizer_runs.c.created_at.desc())
        .limit(1)
    )
    row = connection.execute(query).mappings().first()
    return OptimizerRun(**row) if row else None
