"""What directives have saved so far, workload by workload."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select

from app.domain.directive import L0
from app.store.ledger import floor_column
from app.store.tables import results


@dataclass(frozen=True, kw_only=True)
class Saved:
    """Answered requests that drew a level, of one workload, and what they would have emitted at L0."""

    workload: str
    requests: int
    footprint_g: float
    at_l0: int
    """Requests among them that were drawn at L0: the estimate rests on them."""
    l0_footprint_g: float | None
    """Estimated, each of those weighted by its inverse propensity; None where there are none."""

    @property
    def saved_g(self) -> float | None:
        return None if self.l0_footprint_g is None else self.l0_footprint_g - self.footprint_g


def saved(connection: Connection, tenant: str, model: str, since: datetime) -> Sequence[Saved]:
    grams, weight = results.c.operational_g + results.c.embodied_g, 1 / results.c.probability
    is_l0 = results.c.level == L0
    requests = func.count()
    query = (
        select(
            floor_column.label("workload"),
            requests.label("requests"),
            func.sum(grams).label("footprint_g"),
            func.count().filter(is_l0).label("at_l0"),
            (requests * func.sum(grams * weight).filter(is_l0) / func.sum(weight).filter(is_l0)).label(
                "l0_footprint_g"
            ),
        )
        .where(
            results.c.tenant_id == tenant,
            results.c.model == model,
            results.c.finished_at >= since,
            results.c.status_code == 200,
            results.c.mix_id.is_not(None),
            ~results.c.cached,
        )
        .group_by(floor_column)
        .order_by(floor_column)
    )
    return [Saved(**row) for row in connection.execute(query).mappings()]
