"""Profiles per tenant, model, workload and level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects.postgresql import insert

from app.domain.attribution import Use
from app.domain.profile import Profile
from app.store.knowledge import profiles

_FIGURES = ("requests", "energy_j", "energy_sd_j", "device_s", "device_sd_s")


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


def traffic(connection: Connection, tenant: str, model: str, since: datetime) -> Mapping[str, int]:
    """Requests per workload, over the profiles that were renewed since: the others have had none."""
    query = (
        select(profiles.c.workload, func.sum(profiles.c.requests))
        .where(profiles.c.tenant_id == tenant, profiles.c.model == model, profiles.c.updated_at >= since)
        .group_by(profiles.c.workload)
    )
    return {workload: int(requests) for workload, requests in connection.execute(query)}
