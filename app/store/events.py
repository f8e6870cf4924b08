"""What a person should know of: kept, and told to a webhook where one is set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from app.store.quality import events

MOST_ATTEMPTS = 7


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


def untold(connection: Connection, *, since: datetime, limit: int) -> Sequence[Event]:
    """Those from `since` on that no webhook was told of, oldest first."""
    query = (
        select(*(events.c[name] for name in _NAMES))
        .where(events.c.told_at.is_(None), events.c.attempts < MOST_ATTEMPTS, events.c.at >= since)
        .order_by(events.c.id)
        .limit(limit)
    )
    return [Event(**row) for row in connection.execute(query).mappings()]


def tried(connection: Connection, event_id: int, *, told_at: datetime | None) -> None:
    connection.execute(
        update(events).where(events.c.id == event_id).values(told_at=told_at, attempts=events.c.attempts + 1)
    )
