"""What tenants used: by the hour, against their limits, and fading, for their shares of the devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import CTE, Connection, func, select, update
from sqlalchemy.dialects.postgresql import insert

from app.domain.units import hour_of
from app.store.accounts import tenant_hours, tenant_shares
from app.store.columns import faded
from app.store.results import Result

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


def corrected(changed: CTE) -> CTE:
    """Adds `more_g` of rows of the ledger, priced anew, to what its tenant has used in the hour `start_at`."""
    by_hour = changed.c.tenant_id, changed.c.start_at
    sums = select(*by_hour, func.sum(changed.c.more_g).label("more_g")).group_by(*by_hour).subquery()
    same = tenant_hours.c.tenant_id == sums.c.tenant_id, tenant_hours.c.start_at == sums.c.start_at
    total = tenant_hours.c.footprint_g + sums.c.more_g
    return update(tenant_hours).where(*same).values(footprint_g=total).cte("counted")
