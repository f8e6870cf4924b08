"""Idempotency keys: what a caller named a batch that it wanted to create once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, func, insert, select

from app.store.tables import idempotency_keys

REMEMBERED = timedelta(hours=24)


@dataclass(frozen=True, kw_only=True)
class Once:
    """What a caller wants to have done once."""

    key: str
    body_sha256: str


@dataclass(frozen=True, kw_only=True)
class Done:
    """What came of an earlier call with the same key."""

    batch_id: str
    body_sha256: str


def take_turn(connection: Connection, tenant: str, key: str) -> None:
    """Wait until nobody else works with this key of the tenant; nobody else will before this transaction ends."""
    # With the length, so that no two pairs look alike.
    name = f"sprout.once.{len(tenant)}.{tenant}.{key}"
    connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))


def find(connection: Connection, tenant: str, key: str, now: datetime) -> Done | None:
    query = select(idempotency_keys.c.batch_id, idempotency_keys.c.body_sha256).where(
        idempotency_keys.c.tenant_id == tenant,
        idempotency_keys.c.key == key,
        idempotency_keys.c.created_at > now - REMEMBERED,
    )
    row = connection.execute(query).mappings().first()
    return Done(**row) if row else None


def put(connection: Connection, tenant: str, once: Once, batch_id: str, now: datetime) -> None:
    """Remember the key, in the place of an earlier one that is to be forgotten."""
    connection.execute(
        delete(idempotency_keys).where(idempotency_keys.c.tenant_id == tenant, idempotency_keys.c.key == once.key)
    )
    connection.execute(
        insert(idempotency_keys).values(tenant_id=tenant, batch_id=batch_id, created_at=now, **vars(once))
    )


def forget(connection: Connection, now: datetime) -> None:
    """Drop the keys of all tenants that are older than REMEMBERED."""
    connection.execute(delete(idempotency_keys).where(idempotency_keys.c.created_at <= now - REMEMBERED))
