"""Endpoints that want to be told of events, and the outbox of what they have not heard yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, and_, any_, delete, func, insert, literal, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from app.domain.errors import NotFound
from app.domain.webhook import payload
from app.store.ids import new_id
from app.store.outbox import webhook_deliveries as deliveries
from app.store.outbox import webhook_endpoints as endpoints

OPERATOR = "operator"
"""The endpoint of the installation itself, which hears of it and not of batches."""

AT_ONCE = 4
"""Tries that one endpoint is given at a time; one that fails gets a single one."""


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    id: str
    tenant_id: str | None
    """None: the operator's."""
    name: str
    url: str
    secret: str
    event_types: Sequence[str]
    created_at: datetime
    disabled_at: datetime | None = None
    succeeded_at: datetime | None = None
    failed_at: datetime | None = None
    fault: str | None = None
    """Of the newest failure."""
    failing: bool = False
    """Whether the newest try failed."""
    given_up: int = 0
    """Events of which it was told in vain until there were no tries left."""


@dataclass(frozen=True, kw_only=True)
class Delivery:
    id: str
    tenant_id: str
    body: str
    tries: int
    """Those that failed."""
    lease_expires_at: datetime
    """Until then nobody else sends it; also says whose it is."""
    endpoint: Endpoint


def _endpoint(row: Row[Any]) -> Endpoint:
    return Endpoint(**{**row._mapping, "event_types": tuple(row._mapping["event_types"])})


def add(connection: Connection, endpoint: Endpoint) -> None:
    connection.execute(insert(endpoints).values(**{**vars(endpoint), "event_types": list(endpoint.event_types)}))


def lock(connection: Connection, tenant: str) -> None:
    """Nobody else changes which endpoints the tenant has before this transaction ends."""
    connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"webhooks {tenant}", 0))))


def of_tenant(connection: Connection, tenant: str) -> Sequence[Endpoint]:
    """Newest first."""
    query = select(endpoints).where(endpoints.c.tenant_id == tenant)
    return [_endpoint(row) for row in connection.execute(query.order_by(endpoints.c.created_at.desc(), endpoints.c.id))]


def waiting(connection: Connection, tenant: str) -> Mapping[str, int]:
    """By endpoint, how much it has not heard yet; those with nothing are left out."""
    query = select(deliveries.c.endpoint_id, func.count()).join(endpoints, endpoints.c.id == deliveries.c.endpoint_id)
    query = query.where(endpoints.c.tenant_id == tenant).group_by(deliveries.c.endpoint_id)
    return dict(connection.execute(query).all())


def get(connection: Connection, tenant: str, endpoint_id: str) -> Endpoint:
    """Raises NotFound."""
    query = select(endpoints).where(endpoints.c.tenant_id == tenant, endpoints.c.id == endpoint_id)
    row = connection.execute(query).first()
    if row is None:
        raise NotFound(f"There is no webhook '{endpoint_id}'.")
    return _endpoint(row)


def remove(connection: Connection, tenant: str, endpoint_id: str) -> None:
    """With what it has not heard yet. Raises NotFound."""
    get(connection, tenant, endpoint_id)
    connection.execute(delete(endpoints).where(endpoints.c.tenant_id == tenant, endpoints.c.id == endpoint_id))


def rotate(connection: Connection, tenant: str, endpoint_id: str, secret: str) -> None:
    """What is sent from now on is signed with `secret`. Raises NotFound."""
    get(connection, tenant, endpoint_id)
    changed = update(endpoints).where(endpoints.c.tenant_id == tenant, endpoints.c.id == endpoint_id)
    connection.execute(changed.values(secret=secret))


def put_operator(connection: Connection, *, url: str | None, secret: str, now: datetime) -> None:
    """The operator's endpoint is the one at `url` by now, or none. What another was not told is dropped."""
    if url is None:
        connection.execute(delete(endpoints).where(endpoints.c.id == OPERATOR))
        return
    connection.execute(delete(endpoints).where(endpoints.c.id == OPERATOR, endpoints.c.url != url))
    row = {"id": OPERATOR, "name": OPERATOR, "url": url, "secret": secret, "event_types": [], "created_at": now}
    statement = upsert(endpoints).values(**row)
    connection.execute(
        statement.on_conflict_do_update(index_elements=["id"], set_={"secret": secret, "disabled_at": None})
    )


def announce(
    connection: Connection, *, tenant: str, kind: str, data: Mapping[str, Any], now: datetime, to_operator: bool = False
) -> None:
    """Have every endpoint of the tenant that wants this `kind` of event told, or the operator's; with the transaction
    that it is part of, or not at all."""
    whose = endpoints.c.tenant_id.is_(None) if to_operator else endpoints.c.tenant_id == tenant
    wanted = whose if to_operator else and_(whose, literal(kind) == any_(endpoints.c.event_types))
    query = select(endpoints.c.id).where(wanted, endpoints.c.disabled_at.is_(None))
    # Locked, so that one that is removed just now does not undo what the event is about.
    found = connection.execute(query.with_for_update(read=True, key_share=True)).scalars()
    for endpoint_id in list(found):
        event_id = new_id("evt_")
        values = {
            "id": event_id,
            "tenant_id": tenant,
            "endpoint_id": endpoint_id,
            "body": payload(event_id, kind, data, now),
            "due_at": now,
        }
        connection.execute(insert(deliveries).values(**values))


def claim(connection: Connection, *, now: datetime, lease: timedelta) -> Delivery | None:
    """The next that is due, for the caller alone to try until its lease is over; None if there is none.

    Endpoints that answer come first, and no endpoint has more than a few at a time.
    """
    # One after another, or two that count at once would both find room for one more.
    connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended("webhook deliveries", 0))))
    tried = select(deliveries.c.endpoint_id).join(endpoints, endpoints.c.id == deliveries.c.endpoint_id)
    tried = tried.where(deliveries.c.lease_expires_at > now).group_by(deliveries.c.endpoint_id, endpoints.c.failing)
    busy = tried.having(or_(and_(endpoints.c.failing, func.count() >= 1), func.count() >= AT_ONCE))
    free = or_(deliveries.c.lease_expires_at.is_(None), deliveries.c.lease_expires_at <= now)
    due = (
        select(deliveries.c.id, endpoints.c.id)
        .join(endpoints, endpoints.c.id == deliveries.c.endpoint_id)
        .where(deliveries.c.due_at <= now, free, deliveries.c.endpoint_id.not_in(busy))
        .order_by(endpoints.c.failing, deliveries.c.due_at)
        .limit(1)
        .with_for_update(skip_locked=True, of=deliveries)
    )
    found = connection.execute(due).first()
    if found is None:
        return None
    until = now + lease
    changed = update(deliveries).where(deliveries.c.id == found[0]).values(lease_expires_at=until)
    row = connection.execute(changed.returning(deliveries)).one()
    endpoint = _endpoint(connection.execute(select(endpoints).where(endpoints.c.id == found[1])).one())
    return Delivery(
        id=row.id,
        tenant_id=row.tenant_id,
        body=row.body,
        tries=row.tries,
        lease_expires_at=row.lease_expires_at,
        endpoint=endpoint,
    )


def heard(connection: Connection, delivery: Delivery, now: datetime) -> None:
    """The endpoint has taken it."""
    _note(connection, delivery, succeeded_at=now, failing=False)
    connection.execute(delete(deliveries).where(deliveries.c.id == delivery.id))


def failed(
    connection: Connection, delivery: Delivery, now: datetime, *, fault: str, wait: timedelta | None, gone: bool
) -> None:
    """It has not. It is told again after `wait`, or no more; one that is `gone` is told nothing any more.

    A caller whose lease was over, so that another tries by now, changes no more than what is known of the endpoint.
    """
    _note(connection, delivery, failed_at=now, failing=True, fault=fault)
    own = and_(deliveries.c.id == delivery.id, deliveries.c.lease_expires_at == delivery.lease_expires_at)
    if gone:
        connection.execute(delete(deliveries).where(deliveries.c.endpoint_id == delivery.endpoint.id))
        _note(connection, delivery, disabled_at=now)
    elif wait is None:
        given_up = connection.execute(delete(deliveries).where(own)).rowcount
        _note(connection, delivery, given_up=endpoints.c.given_up + given_up)
    else:
        again = {"tries": deliveries.c.tries + 1, "due_at": now + wait, "lease_expires_at": None}
        connection.execute(update(deliveries).where(own).values(**again))


def _note(connection: Connection, delivery: Delivery, **values: Any) -> None:
    """Also has those who note something of the same endpoint wait for each other: they lock it first of all."""
    connection.execute(update(endpoints).where(endpoints.c.id == delivery.endpoint.id).values(**values))
