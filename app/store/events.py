"""What a person should know of: kept, and told to the operator's webhook where one is set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, insert, select

from app.store import webhooks
from app.store.quality import events


@dataclass(frozen=True, kw_only=True)
class Event:
    id: int
    at: datetime
    kind: str
    message: str
    details: Mapping[str, Any]


def add(
    connection: Connection, *, tenant: str, kind: str, message: str, details: Mapping[str, Any], now: datetime
) -> None:
    connection.execute(
        insert(events).values(tenant_id=tenant, at=now, kind=kind, message=message, details=dict(details))
    )
    data = {"message": message, **details}
    webhooks.announce(connection, tenant=tenant, kind=kind, data=data, now=now, to_operator=True)


_NAMES = ("id", "at", "kind", "message", "details")


def newest(connection: Connection, tenant: str, limit: int) -> Sequence[Event]:
    query = (
        select(*(events.c[name] for name in _NAMES))
        .where(events.c.tenant_id == tenant)
        .order_by(events.c.at.desc(), events.c.id.desc())
        .limit(limit)
    )
    return [Event(**row) for row in connection.execute(query).mappings()]


def counts(connection: Connection) -> Mapping[str, int]:
    """By kind, over all tenants and for all time."""
    return dict(connection.execute(select(events.c.kind, func.count()).group_by(events.c.kind)).all())
