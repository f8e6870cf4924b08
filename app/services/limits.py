"""What a tenant may use: asked when a batch is created and validated, and held against what runs at every tick.

A lease asks for one cell of the tenant's row, never for a sum: the tick finds out what is used up, and holds the
tenant's shards or lets them go on. What runs until then, and what is leased by then, may go beyond a limit.
"""

from __future__ import annotations

import logging
from datetime import datetime

from sqlalchemy import Connection

from app.domain.errors import LimitExceeded
from app.domain.intensity import HOUR
from app.domain.tenant import month_of, next_month
from app.domain.units import hour_of
from app.services.context import Context
from app.store import batches, tenants, usage
from app.store.tenants import Tenant

log = logging.getLogger(__name__)

DAY_H = 24


def check(connection: Connection, tenant: str, now: datetime) -> None:
    """Raises LimitExceeded where a tenant may create no batch now. Of two callers at once one waits for the other."""
    found = tenants.find(connection, tenant, lock=True)
    if found is None:
        return
    _check_batches(connection, found, now)
    queued = found.limits.queued_requests
    if queued is not None and (waiting := batches.unanswered(connection, tenant)) >= queued:
        raise LimitExceeded(f"{_queue_is_full(found, queued, waiting)}.", code="rate_limit_exceeded")
    over = _used_up(connection, found, now)
    if over is not None:
        raise over


def _queue_is_full(found: Tenant, limit: int, waiting: int, more: int = 0) -> str:
    remedy = "wait until some are answered, or ask the operator for more"
    new = f", and this batch has {more}" if more else ""
    return f"Tenant '{found.name}' may have {limit} requests queued and has {waiting}{new}: {remedy}"


def _check_batches(connection: Connection, found: Tenant, now: datetime) -> None:
    most = found.limits.batches_per_hour
    if most is None:
        return
    created = batches.created_since(connection, found.name, now - HOUR)
    if len(created) < most:
        return
    # With that one out of the hour, there is room for another.
    freed_at = created[-most] + HOUR if most else None
    raise LimitExceeded(
        f"Tenant '{found.name}' may create {most} batches an hour and has created {len(created)}: wait, send fewer "
        "and larger ones, or ask the operator for more.",
        code="rate_limit_exceeded",
        retry_after_s=(freed_at - now).total_seconds() if freed_at else None,
    )


def _used_up(connection: Connection, found: Tenant, now: datetime) -> LimitExceeded | None:
    """Of tokens or of carbon: which limit is reached, until when."""
    limits = found.limits
    if limits.tokens_per_day is not None:
        hours = usage.tokens(connection, found.name, hour_of(now) - (DAY_H - 1) * HOUR)
        used = sum(hours.values())
        if used >= limits.tokens_per_day:
            until = None
            for start, tokens in hours.items():
                used -= tokens
                if used < limits.tokens_per_day:
                    until = start + DAY_H * HOUR
                    break
            return _over(
                found,
                f"{limits.tokens_per_day} tokens a day",
                f"{sum(hours.values())} in the last 24 hours",
                until,
                now,
            )
    if limits.carbon_g_per_month is not None:
        grams = usage.footprint_g(connection, found.name, month_of(now))
        if grams >= limits.carbon_g_per_month:
            until = next_month(now) if limits.carbon_g_per_month else None
            return _over(
                found, f"{limits.carbon_g_per_month:g} gCO2eq a month", f"{grams:.3g} g in this one", until, now
            )
    return None


def _over(found: Tenant, limit: str, used: str, until: datetime | None, now: datetime) -> LimitExceeded:
    when = f"wait until {until:%Y-%m-%d %H:%M} UTC, or " if until else ""
    return LimitExceeded(
        f"Tenant '{found.name}' may use {limit} and has used {used}: {when}ask the operator for more.",
        code="insufficient_quota",
        retry_after_s=(until - now).total_seconds() if until else None,
    )


def admit(connection: Connection, tenant: str, requests: int) -> None:
    """Raises LimitExceeded where a batch of so many requests may not join the tenant's queue. Nobody else joins it
    before the end of the transaction."""
    found = tenants.find(connection, tenant, lock=True)
    limit = found.limits.queued_requests if found else None
    if found is not None and limit is not None:
        waiting = batches.unanswered(connection, tenant)
        if waiting + requests > limit:
            raise LimitExceeded(f"{_queue_is_full(found, limit, waiting, requests)}.", code="rate_limit_exceeded")


def hold(context: Context) -> None:
    """Hold the shards of tenants that have used up what they may, and let the others' go on."""
    now = context.clock.now()
    with context.database.transaction() as connection:
        for found in tenants.all_of(connection):
            hold_one(connection, found, now)


def hold_one(connection: Connection, found: Tenant, now: datetime) -> None:
    """The same for one tenant, as it is stored now."""
    over = _used_up(connection, found, now)
    why = f"Tenant '{found.name}' is disabled: ask the operator." if found.disabled_at else over and over.message
    if why != found.hold:
        log.info("tenant %s: %s", found.name, why or "goes on")
        tenants.change(connection, found.name, hold=why)
