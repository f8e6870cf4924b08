"""What tenants used: by the hour, against their limits, and fading, for their shares of the devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import CTE, Connection, func, select, update
from sqlalchemy.dialects.postgresql import Insert, insert

from app.domain.units import hour_of
from app.store.accounts import tenant_hours, tenant_shares
from app.store.columns import faded
from app.store.results import Result

HALF_LIFE_S = 300.0
"""Age at which a device-second counts half in a tenant's share."""


def _counting_for_shares() -> Insert:
    statement = insert(tenant_shares)
    now = statement.excluded["as_of"]
    left = faded(tenant_shares.c.as_of, now, HALF_LIFE_S)
    sums = {name: tenant_shares.c[name] * left + statement.excluded[name] for name in ("device_s", "requests")}
    return statement.on_conflict_do_update(index_elements=["tenant_id"], set_={**sums, "as_of": now})


def _counting_by_the_hour() -> Insert:
    statement = insert(tenant_hours)
    sums = {name: tenant_hours.c[name] + statement.excluded[name] for name in ("tokens", "footprint_g")}
    return statement.on_conflict_do_update(index_elements=["tenant_id", "start_at"], set_=sums)


_COUNT_FOR_SHARES = _counting_for_shares()
_COUNT_BY_THE_HOUR = _counting_by_the_hour()


def add(connection: Connection, tenant: str, answered: Sequence[Result], now: datetime) -> None:
    """Count results that were written. Last in a transaction: all of a tenant's workers write these two rows."""
    if not answered:
        return
    share = {"device_s": sum(result.device_s for result in answered), "requests": len(answered), "as_of": now}
    connection.execute(_COUNT_FOR_SHARES, {"tenant_id": tenant, **share})
    used = {
        "tokens": sum(result.prompt_tokens + result.completion_tokens for result in answered),
        "footprint_g": sum(result.operational_g + result.embodied_g for result in answered),
    }
    connection.execute(_COUNT_BY_THE_HOUR, {"tenant_id": tenant, "start_at": hour_of(now), **used})


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
