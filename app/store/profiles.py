"""Profiles per tenant, model, workload and level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, func, select
from sqlalchemy.dialects.postgresql import insert

from app.domain.attribution import Use
from app.domain.profile import Profile
from app.store.columns import faded
from app.store.knowledge import profiles
from app.store.tables import results

_FIGURES = ("requests", "energy_j", "energy_sd_j", "device_s", "device_sd_s", "completion_tokens")

HALF_LIVES = 10
"""Requests that are older weigh less than a thousandth and are not read."""


def measured(
    connection: Connection, tenant: str, model: str, *, now: datetime, half_life_s: float
) -> Sequence[Profile]:
    """Profiles from the ledger: the answered requests that drew a level, one of age a weighing 2^(-a / half-life).

    Pinned ones, to L0 for their form or by their user, are not like those that draw.
    """
    weight = faded(results.c.finished_at, now, half_life_s)
    requests = func.sum(weight)

    def mean(figure: ColumnElement[float]) -> ColumnElement[float]:
        return func.sum(weight * figure) / requests

    def spread(figure: ColumnElement[float]) -> ColumnElement[float]:
        # A difference of two almost equal numbers can come out below zero.
        return func.sqrt(func.greatest(mean(figure * figure) - mean(figure) * mean(figure), 0.0))

    query = (
        select(
            results.c.workload,
            results.c.level,
            requests.label("requests"),
            mean(results.c.energy_j).label("energy_j"),
            spread(results.c.energy_j).label("energy_sd_j"),
            mean(results.c.device_s).label("device_s"),
            spread(results.c.device_s).label("device_sd_s"),
            mean(results.c.completion_tokens).label("completion_tokens"),
        )
        .where(
            results.c.tenant_id == tenant,
            results.c.model == model,
            results.c.finished_at >= now - timedelta(seconds=HALF_LIVES * half_life_s),
            results.c.status_code == 200,
            results.c.mix_id.is_not(None),
            ~results.c.cached,
        )
        .group_by(results.c.workload, results.c.level)
    )
    return [Profile(**row) for row in connection.execute(query).mappings()]


def put(connection: Connection, tenant: str, model: str, entries: Sequence[Profile], now: datetime) -> None:
    """Store profiles in place of earlier ones."""
    if not entries:
        return
    statement = insert(profiles)
    statement = statement.on_conflict_do_update(
        index_elements=["tenant_id", "model", "workload", "level"],
        set_={name: statement.excluded[name] for name in (*_FIGURES, "updated_at")},
    )
    connection.execute(
        statement, [{"tenant_id": tenant, "model": model, "updated_at": now, **vars(entry)} for entry in entries]
    )


def all_of(connection: Connection, tenant: str, model: str) -> Sequence[Profile]:
    names = ("workload", "level", *_FIGURES)
    query = (
        select(*(profiles.c[name] for name in names))
        .where(profiles.c.tenant_id == tenant, profiles.c.model == model)
        .order_by(profiles.c.workload, profiles.c.level)
    )
    return [Profile(**row) for row in connection.execute(query).mappings()]


def typical(connection: Connection, model: str, level: int) -> Use | None:
    """Mean use of a request at a level over all tenants and workloads; None where none was measured."""
    requests = func.sum(profiles.c.requests)
    query = select(
        func.sum(profiles.c.requests * profiles.c.energy_j) / requests,
        func.sum(profiles.c.requests * profiles.c.device_s) / requests,
    ).where(profiles.c.model == model, profiles.c.level == level)
    energy_j, device_s = connection.execute(query).one()
    return None if energy_j is None else Use(energy_j=float(energy_j), device_s=float(device_s))


def traffic(connection: Connection, tenant: str, model: str, since: datetime) -> Mapping[str, float]:
    """Requests per workload, faded, over the profiles that were renewed since: the others have had none."""
    query = (
        select(profiles.c.workload, func.sum(profiles.c.requests))
        .where(profiles.c.tenant_id == tenant, profiles.c.model == model, profiles.c.updated_at >= since)
        .group_by(profiles.c.workload)
    )
    return {workload: float(requests) for workload, requests in connection.execute(query)}
