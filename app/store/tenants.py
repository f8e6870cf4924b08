"""Tenants: their rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Row, func, select, update
from sqlalchemy.dialects.postgresql import insert

from app.domain.errors import Conflict, NotFound
from app.domain.tenant import Limits
from app.store.accounts import tenants
from app.store.database import TENANT

_LIMITS = tuple(field.name for field in fields(Limits))


@dataclass(frozen=True, kw_only=True)
class Tenant:
    name: str
    weight: float
    limits: Limits
    hold: str | None
    """Why none of its shards is started now; None while they are."""
    created_at: datetime
    disabled_at: datetime | None


def _tenant(row: Row[Any]) -> Tenant:
    values = dict(row._mapping)
    limits = Limits(**{name: values.pop(name) for name in _LIMITS})
    return Tenant(name=values.pop("id"), limits=limits, **values)


def add(connection: Connection, name: str, *, weight: float, limits: Limits, now: datetime) -> None:
    """Raises Conflict where the name is taken."""
    values = {"id": name, "weight": weight, "created_at": now, **vars(limits)}
    statement = insert(tenants).values(**values).on_conflict_do_nothing().returning(tenants.c.id)
    if connection.execute(statement).first() is None:
        raise Conflict(f"There is a tenant '{name}' already: `sprout tenants limits {name}` changes its limits.")


def ensure_default(connection: Connection, now: datetime) -> None:
    """Give the default tenant a row, for what can only be kept in one."""
    connection.execute(insert(tenants).values(id=TENANT, created_at=now).on_conflict_do_nothing())


def find(connection: Connection, name: str, *, lock: bool = False) -> Tenant | None:
    """None for the default tenant as long as it needs no row. With `lock`, nobody else changes it, or decides by its
    limits, before this transaction ends."""
    query = select(tenants).where(tenants.c.id == name)
    row = connection.execute(query.with_for_update() if lock else query).first()
    return _tenant(row) if row else None


def get(connection: Connection, name: str) -> Tenant:
    """Raises NotFound."""
    found = find(connection, name)
    if found is None:
        raise NotFound(
            f"There is no tenant '{name}': `sprout tenants list` shows them, `sprout tenants add` makes one."
        )
    return found


def all_of(connection: Connection) -> Sequence[Tenant]:
    return [_tenant(row) for row in connection.execute(select(tenants).order_by(tenants.c.id))]


_OTHERS = select(tenants.c.id).where(tenants.c.disabled_at.is_(None), tenants.c.id != TENANT)
_ANY_OTHER = select(_OTHERS.exists())


def names(connection: Connection) -> Sequence[str]:
    """Everybody whose requests are served: the default tenant first, then the others that are not disabled."""
    return [TENANT, *connection.execute(_OTHERS.order_by(tenants.c.id)).scalars()]


def are_several(connection: Connection) -> bool:
    """Whether there is any beside the default tenant that is not disabled."""
    return bool(connection.execute(_ANY_OTHER).scalar_one())


def change(connection: Connection, name: str, **values: Any) -> None:
    """Set cells of a tenant's row. Raises NotFound."""
    if not connection.execute(update(tenants).where(tenants.c.id == name).values(**values)).rowcount:
        get(connection, name)


def hold_of(tenant: Column[Any]) -> ColumnElement[str | None]:
    """Why the tenant in a column of another table is held, as a subquery; null while it is not."""
    return select(tenants.c.hold).where(tenants.c.id == tenant).correlate_except(tenants).scalar_subquery()


def weight_of(tenant: ColumnElement[Any]) -> ColumnElement[float]:
    """The weight of the tenant in another table's column, as a subquery."""
    own = select(tenants.c.weight).where(tenants.c.id == tenant).correlate_except(tenants).scalar_subquery()
    return func.coalesce(own, 1.0)
