"""API keys: their rows, by prefix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, insert, or_, select, update

from app.domain.errors import NotFound
from app.domain.tenant import Scope
from app.store.accounts import api_keys, tenants

USED = timedelta(minutes=1)
"""How exactly it is known when a key was used last."""


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    prefix: str
    tenant_id: str
    hash: str
    scopes: Sequence[Scope]
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None


_KEY = tuple(api_keys.c)


def add(connection: Connection, key: ApiKey) -> None:
    connection.execute(insert(api_keys).values(**{**asdict(key), "scopes": [str(scope) for scope in key.scopes]}))


def find(connection: Connection, prefix: str) -> ApiKey | None:
    """Of any tenant that is not disabled."""
    query = select(*_KEY).join(tenants, tenants.c.id == api_keys.c.tenant_id)
    row = (
        connection.execute(query.where(api_keys.c.prefix == prefix, tenants.c.disabled_at.is_(None))).mappings().first()
    )
    # A scope that this version does not know gives no right.
    known = {str(scope) for scope in Scope}
    return ApiKey(**{**row, "scopes": [Scope(name) for name in row["scopes"] if name in known]}) if row else None


def get(connection: Connection, prefix: str) -> ApiKey:
    """Of any tenant. Raises NotFound."""
    row = connection.execute(select(*_KEY).where(api_keys.c.prefix == prefix)).mappings().first()
    if row is None:
        raise NotFound(f"There is no key '{prefix}': `sprout keys list` shows their prefixes.")
    return ApiKey(**row)


def all_of(connection: Connection, tenant: str | None = None) -> Sequence[ApiKey]:
    """By tenant, oldest first; those of one tenant if it is named."""
    query = select(*_KEY).order_by(api_keys.c.tenant_id, api_keys.c.created_at, api_keys.c.prefix)
    if tenant is not None:
        query = query.where(api_keys.c.tenant_id == tenant)
    return [ApiKey(**row) for row in connection.execute(query).mappings()]


def exist(connection: Connection) -> bool:
    """Whether there is any, be it revoked or expired."""
    return connection.execute(select(api_keys.c.prefix).limit(1)).first() is not None


def expire(connection: Connection, prefix: str, moment: datetime) -> None:
    """Let a key expire at that moment, unless it does earlier."""
    later = or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > moment)
    connection.execute(update(api_keys).where(api_keys.c.prefix == prefix, later).values(expires_at=moment))


def revoke(connection: Connection, prefix: str, now: datetime) -> None:
    """End a key, unless it was revoked before."""
    still = api_keys.c.revoked_at.is_(None)
    connection.execute(update(api_keys).where(api_keys.c.prefix == prefix, still).values(revoked_at=now))


def used(connection: Connection, prefix: str, now: datetime) -> None:
    """Take note that a key is used, once a minute at most."""
    stale = or_(api_keys.c.last_used_at.is_(None), api_keys.c.last_used_at <= now - USED)
    connection.execute(update(api_keys).where(api_keys.c.prefix == prefix, stale).values(last_used_at=now))
