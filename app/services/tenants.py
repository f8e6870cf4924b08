"""Tenants as the operator makes and changes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from app.domain.errors import Conflict
from app.domain.intensity import HOUR
from app.domain.tenant import Limits, check_name, check_weight, month_of
from app.domain.units import hour_of
from app.ports import Clock
from app.services import limits
from app.store import batches, tenants, usage
from app.store.database import TENANT, Database
from app.store.tenants import Tenant


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A tenant, and what it has used of what it may."""

    tenant: Tenant
    queued_requests: int
    batches_per_hour: int
    tokens_per_day: int
    carbon_g_per_month: float


def add(database: Database, clock: Clock, name: str, *, weight: float, allowed: Limits) -> None:
    """Raises:
    Conflict: the name is taken.
    InvalidInput: it is no name of a tenant, or the weight is none.
    """
    check_name(name)
    check_weight(weight)
    with database.transaction() as connection:
        if name == TENANT:
            raise Conflict(f"There is a tenant '{TENANT}' always: `sprout tenants limits {TENANT}` changes its limits.")
        tenants.add(connection, name, weight=weight, limits=allowed, now=clock.now())


def change(database: Database, clock: Clock, name: str, *, weight: float | None, changes: Mapping[str, Any]) -> None:
    """Set the weight, where one is given, and limits by name, None for no limit; what they hold or no longer hold
    follows at once.

    Raises:
        InvalidInput: a limit or the weight is out of range.
        NotFound: no such tenant.
    """
    if weight is not None:
        check_weight(weight)
    with database.transaction() as connection:
        found = _locked(connection, name, clock.now())
        values: dict[str, Any] = dict(vars(replace(found.limits, **changes)))
        tenants.change(connection, name, **values, **({} if weight is None else {"weight": weight}))
        limits.hold_one(connection, tenants.get(connection, name), clock.now())


def disable(database: Database, clock: Clock, name: str, *, is_disabled: bool = True) -> None:
    """Refuse a tenant's keys, and hold what it has queued; or undo that.

    Raises:
        Conflict: it is the default tenant, which is the operator's.
        NotFound: no such tenant.
    """
    if name == TENANT:
        raise Conflict(f"Tenant '{TENANT}' is the operator's and cannot be disabled: limit it, or revoke its keys.")
    with database.transaction() as connection:
        _locked(connection, name, clock.now())
        tenants.change(connection, name, disabled_at=clock.now() if is_disabled else None)
        limits.hold_one(connection, tenants.get(connection, name), clock.now())


def _locked(connection: Connection, name: str, now: datetime) -> Tenant:
    if name == TENANT:
        tenants.ensure_default(connection, now)
    return tenants.find(connection, name, lock=True) or tenants.get(connection, name)


def listed(database: Database, clock: Clock) -> Sequence[Standing]:
    """All of them, the default tenant too."""
    now = clock.now()
    with database.transaction() as connection:
        tenants.ensure_default(connection, now)
        return [
            Standing(
                tenant=found,
                queued_requests=batches.unanswered(connection, found.name),
                batches_per_hour=len(batches.created_since(connection, found.name, now - HOUR)),
                tokens_per_day=sum(
                    usage.tokens(connection, found.name, hour_of(now) - (limits.DAY_H - 1) * HOUR).values()
                ),
                carbon_g_per_month=usage.footprint_g(connection, found.name, month_of(now)),
            )
            for found in tenants.all_of(connection)
        ]
