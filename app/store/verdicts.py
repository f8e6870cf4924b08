"""Verdicts: comparisons of a level with L0."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from sqlalchemy import ColumnElement, Connection, func, insert, select

from app.domain.preference import Tally
from app.store.columns import faded
from app.store.knowledge import verdicts


def add(
    connection: Connection,
    *,
    tenant: str,
    model: str,
    workload: str,
    level: int,
    outcome: Literal["win", "tie", "loss"],
    judge: str,
    now: datetime,
) -> None:
    connection.execute(
        insert(verdicts).values(
            tenant_id=tenant,
            model=model,
            workload=workload,
            level=level,
            outcome=outcome,
            judge=judge,
            created_at=now,
        )
    )


def tallies(
    connection: Connection, tenant: str, model: str, *, now: datetime, half_life_s: float
) -> Mapping[tuple[str, int], Tally]:
    """Counts per (workload, level), a verdict weighing 2^(-age / half-life) as in `app.domain.preference.faded`."""
    weight = faded(verdicts.c.created_at, now, half_life_s)

    def counted(outcome: str) -> ColumnElement[float]:
        return func.coalesce(func.sum(weight).filter(verdicts.c.outcome == outcome), 0.0)

    query = (
        select(verdicts.c.workload, verdicts.c.level, counted("win"), counted("tie"), counted("loss"))
        .where(verdicts.c.tenant_id == tenant, verdicts.c.model == model)
        .group_by(verdicts.c.workload, verdicts.c.level)
    )
    return {
        (workload, level): Tally(wins=wins, ties=ties, losses=losses)
        for workload, level, wins, ties, losses in connection.execute(query)
    }
