"""Verdicts: comparisons of a level with L0."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, func, insert, select

from app.domain.preference import Tally
from app.store.tables import verdicts


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


def tallies(connection: Connection, tenant: str, model: str) -> Mapping[tuple[str, int], Tally]:
    """Counts per (workload, level)."""
    query = (
        select(
            verdicts.c.workload,
            verdicts.c.level,
            func.count().filter(verdicts.c.outcome == "win"),
            func.count().filter(verdicts.c.outcome == "tie"),
            func.count().filter(verdicts.c.outcome == "loss"),
        )
        .where(verdicts.c.tenant_id == tenant, verdicts.c.model == model)
        .group_by(verdicts.c.workload, verdicts.c.level)
    )
    return {
        (workload, level): Tally(wins=wins, ties=ties, losses=losses)
        for workload, level, wins, ties, losses in connection.execute(query)
    }
