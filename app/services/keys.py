"""API keys: making, finding and ending them.

A key is `sk-sprout-<prefix>-<secret>`; the secret has 256 random bits. Only its SHA-256 is stored. A password would
need a slow hash, because it can be guessed; 256 random bits cannot, however fast one guesses.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from sqlalchemy import Connection

from app.domain.errors import Conflict, InvalidInput
from app.domain.tenant import EVERYTHING, USUAL, Scope
from app.ports import Clock
from app.store import api_keys, tenants
from app.store.api_keys import ApiKey
from app.store.database import TENANT, Database

PREFIX_BYTES, SECRET_BYTES = 6, 32
OVERLAP = timedelta(hours=24)
"""For which the old key goes on after a rotation, unless another time is stated."""


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Whom a request comes from, and what it may do."""

    tenant: str
    scopes: frozenset[Scope]
    until: datetime | None = None
    """When its key expires."""


OWNER = Caller(tenant=TENANT, scopes=EVERYTHING)
"""The operator, with the key of SPROUT_API_KEY, or on the own machine without any."""


@dataclass(frozen=True, kw_only=True)
class NewKey:
    """A key as its owner is given it: the secret cannot be had again."""

    secret: str
    key: ApiKey


def create(
    database: Database,
    clock: Clock,
    tenant: str,
    *,
    scopes: Iterable[str] = USUAL,
    lifetime: timedelta | None = None,
) -> NewKey:
    """Raises:
    InvalidInput: no scope or an unknown one is stated, or no time to live.
    NotFound: no such tenant.
    """
    wanted, now = _scopes(scopes), clock.now()
    with database.transaction() as connection:
        if tenant == TENANT:
            tenants.ensure_default(connection, now)
        tenants.get(connection, tenant)
        return _add(connection, tenant, wanted, now, _end(now, lifetime))


def _scopes(names: Iterable[str]) -> Sequence[Scope]:
    try:
        found = sorted({Scope(name) for name in names})
    except ValueError as exc:
        raise InvalidInput(f"{exc}; the scopes are {', '.join(Scope)}.") from exc
    if not found:
        raise InvalidInput(f"A key needs a scope: {', '.join(Scope)}.")
    return found


def _end(now: datetime, lifetime: timedelta | None) -> datetime | None:
    if lifetime is None:
        return None
    if not timedelta(0) < lifetime <= timedelta(days=36_500):
        raise InvalidInput(f"A key lives for some time, 100 years at most, not for {lifetime}.")
    return now + lifetime


def _add(
    connection: Connection, tenant: str, scopes: Sequence[Scope], now: datetime, expires_at: datetime | None
) -> NewKey:
    prefix = secrets.token_hex(PREFIX_BYTES)
    secret = f"sk-sprout-{prefix}-{secrets.token_hex(SECRET_BYTES)}"
    key = ApiKey(
        prefix=prefix,
        tenant_id=tenant,
        hash=_hash(secret.encode()),
        scopes=scopes,
        created_at=now,
        expires_at=expires_at,
    )
    api_keys.add(connection, key)
    return NewKey(secret=secret, key=key)


def _hash(secret: bytes) -> str:
    return sha256(secret).hexdigest()


def rotate(database: Database, clock: Clock, prefix: str, *, overlap: timedelta = OVERLAP) -> NewKey:
    """A new key with the same rights, and as long a life; the old one goes on for `overlap`, unless it ends earlier.

    Raises:
        Conflict: it has ended already.
        InvalidInput: a negative overlap.
        NotFound: no such key.
    """
    if not timedelta(0) <= overlap <= timedelta(days=365):
        raise InvalidInput(f"The old key goes on for some time, a year at most, not for {overlap}.")
    now = clock.now()
    with database.transaction() as connection:
        old = api_keys.get(connection, prefix)
        if old.revoked_at or (old.expires_at and old.expires_at <= now):
            raise Conflict(f"Key '{prefix}' has ended: make a new one with `sprout keys create {old.tenant_id}`.")
        lifetime = old.expires_at - old.created_at if old.expires_at else None
        api_keys.expire(connection, prefix, now + overlap)
        return _add(connection, old.tenant_id, [Scope(name) for name in old.scopes], now, _end(now, lifetime))


def revoke(database: Database, clock: Clock, prefix: str) -> None:
    """End a key now. Raises NotFound."""
    with database.transaction() as connection:
        api_keys.get(connection, prefix)
        api_keys.revoke(connection, prefix, clock.now())


def listed(database: Database, tenant: str | None = None) -> Sequence[ApiKey]:
    """Raises NotFound where the tenant is named and not there."""
    with database.transaction() as connection:
        if tenant not in (None, TENANT):
            tenants.get(connection, tenant)
        return api_keys.all_of(connection, tenant)


def exist(database: Database) -> bool:
    """Whether there is any key, be it revoked or expired: with one, nobody is let in without."""
    with database.transaction() as connection:
        return api_keys.exist(connection)


def find(database: Database, clock: Clock, given: bytes) -> Caller | None:
    """Whose key this is; None where it is nobody's, or has ended. Takes note that it was used."""
    start, _, rest = given.partition(b"sk-sprout-")
    prefix = rest.partition(b"-")[0]
    if start or not prefix.isalnum() or not prefix.isascii():
        return None
    now = clock.now()
    with database.transaction() as connection:
        key = api_keys.find(connection, prefix.decode())
        if key is None or not hmac.compare_digest(key.hash, _hash(given)):
            return None
        if key.revoked_at or (key.expires_at and key.expires_at <= now):
            return None
        api_keys.used(connection, key.prefix, now)
    return Caller(tenant=key.tenant_id, scopes=frozenset(key.scopes), until=key.expires_at)
