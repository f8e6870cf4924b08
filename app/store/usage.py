"""What tenants used: by the hour, against their limits, and fading, for their shares of the devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, Float, cast, func, select, update
from sqlalchemy.dialects.postgresql import insert

from app.domain.units import hour_of
from app.store.accounts import tenant_hours, tenant_shares
from app.store.columns import faded
from app.store.results import Result
from app.store.tables import results

HALF_LIFE_S = 300.0
"""Age at which a device-second counts half in a tenant's share."""


def add(connection: Connection, tenant: str, answered: Sequence[Result], now: datetime) -> None:
    """Count results that were written. Last in a transaction: all of a tenant's workers write these two rows."""
    if not answered:
        return
    device_s = sum(result.device_s for result in answered)
    shares = insert(tenant_shares).values(tenant_id=tenant, device_s=device_s, requests=len(answered), as_of=now)
    left = faded(tenant_shares.c.as_of, now, HALF_LIFE_S)
    kept = {name: tenant_shares.c[name] * left + shares.excluded[name] for name in ("device_s", "requests")}
    connection.execute(shares.on_conflict_do_update(index_elements=["tenant_id"], set_={**kept, "as_of": now}))
    hours = insert(tenant_hours).values(
        tenant_id=tenant,
        start_at=hour_of(now),
        tokens=sum(result.prompt_tokens + result.completion_tokens for result in answered),
        footprint_g=sum(result.operational_g + result.embodied_g for result in answered),
    )
    sums = {name: tenant_hours.c[name] + hours.excluded[name] for name in ("tokens", "footprint_g")}
    connection.execute(hours.on_conflict_do_update(index_elements=["tenant_id", "start_at"], set_=sums))


def tokens(connection: Connection, tenant: str, since: datetime) -> Mapping[datetime, int]:
    """By the hour, ascending."""
    query = (
        select(tenant_hours.c.start_at, tenant_hours.c.tokens)
        .where(tenant_hours.c.tenant_id == tenant, tenant_hours.c.start_at >= since)
        .order_by(tenant_hours.c.start_at)
    )
    return dict(connection.execute(query).all())


def footprint_g(connection: Connection, tenant: str, since: datetime) -> float:
    total = func.coalesce(func.sum(tenant_hours.c.footprint_g), 0.0)
    query = select(total).where(tenant_hours.c.tenant_id == tenant, tenant_hours.c.start_at >= since)
    return float(connection.execute(query).scalar_one())


def in_ledger(connection: Connection, since: datetime) -> Mapping[tuple[str, datetime], float]:
    """The footprint of the results that are there, by tenant and hour, of the hours from `since` on."""
    hour = func.date_trunc("hour", results.c.finished_at, "UTC")
    grams = cast(func.sum(results.c.operational_g + results.c.embodied_g), Float)
    query = (
        select(results.c.tenant_id, hour, grams)
        .where(results.c.finished_at >= hour_of(since))
        .group_by(results.c.tenant_id, hour)
    )
    return {(tenant, start_at): found for tenant, start_at, found in connection.execute(query)}


def correct(
    connection: Connection,
    before: Mapping[tuple[str, datetime], float],
    after: Mapping[tuple[str, datetime], float],
) -> None:
    """Add what the ledger's new prices changed. What erased batches used is not in it, and still counts."""
    for (tenant, start_at), grams in sorted(after.items()):
        more = grams - before.get((tenant, start_at), 0.0)
        if more:
            same = tenant_hours.c.tenant_id == tenant, tenant_hours.c.start_at == start_at
            changed = update(tenant_hours).where(*same)
            connection.execute(changed.values(footprint_g=tenant_hours.c.footprint_g + more))
