"""The endpoints that a tenant has told of the ends of its batches."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence

from app.domain.errors import InvalidInput
from app.domain.webhook import BATCH_EVENTS, as_secret
from app.outbound.connection import is_private_number
from app.services.context import Context
from app.store import webhooks
from app.store.ids import new_id
from app.store.webhooks import Endpoint
from app.webhook_settings import address

MOST = 10
"""Endpoints of a tenant: each is told of every end."""

LONGEST_URL = 2048
KEY_BYTES = 32


def add(context: Context, tenant: str, *, url: str, event_types: Sequence[str], name: str) -> Endpoint:
    """A new endpoint with a secret of its own, told of batches that end from now on.

    Raises InvalidInput, never with the URL, which may hold a secret.
    """
    _check_url(url, private=context.settings.webhook_private)
    unknown = [kind for kind in event_types if kind not in BATCH_EVENTS]
    if unknown or not event_types:
        said = f"There is no event {unknown[0][:80]!r}" if unknown else "No event is named"
        raise InvalidInput(f"{said}: choose among {', '.join(BATCH_EVENTS)}.", param="event_types")
    if len(name) > 100:
        raise InvalidInput("The name of a webhook has 100 characters at most.", param="name")
    endpoint = Endpoint(
        id=new_id("we_"),
        tenant_id=tenant,
        name=name,
        url=url,
        secret=_new_secret(),
        event_types=tuple(dict.fromkeys(event_types)),
        created_at=context.clock.now(),
    )
    with context.database.transaction() as connection:
        webhooks.lock(connection, tenant)
        if len(webhooks.of_tenant(connection, tenant)) >= MOST:
            raise InvalidInput(f"There are {MOST} webhooks, which is the most: remove one first.")
        webhooks.add(connection, endpoint)
    return endpoint


def _new_secret() -> str:
    return as_secret(secrets.token_bytes(KEY_BYTES))


def _check_url(url: str, *, private: bool) -> None:
    schemes = ("https", "http") if private else ("https",)
    parsed = address(url)
    if parsed is None or parsed.scheme not in schemes or len(url) > LONGEST_URL:
        raise InvalidInput(
            f"A webhook's URL is a whole address that starts with {schemes[0]}://, of {LONGEST_URL} characters at most"
            + ("." if private else ": without TLS only where SPROUT_WEBHOOK_PRIVATE=true."),
            param="url",
        )
    if parsed.userinfo or parsed.fragment:
        raise InvalidInput("A webhook's URL has no user, password or fragment: use its path or query.", param="url")
    if not private and is_private_number(parsed.host):
        raise InvalidInput(
            "A webhook's URL names a public host: private addresses are called only where SPROUT_WEBHOOK_PRIVATE=true.",
            param="url",
        )


def all_of(context: Context, tenant: str) -> Sequence[tuple[Endpoint, int]]:
    """Newest first, each with how many events it has not heard of yet."""
    with context.database.transaction() as connection:
        waiting: Mapping[str, int] = webhooks.waiting(connection, tenant)
        return [(each, waiting.get(each.id, 0)) for each in webhooks.of_tenant(connection, tenant)]


def remove(context: Context, tenant: str, endpoint_id: str) -> None:
    """With what it has not heard of yet. Raises NotFound."""
    with context.database.transaction() as connection:
        webhooks.remove(connection, tenant, endpoint_id)


def rotate(context: Context, tenant: str, endpoint_id: str) -> Endpoint:
    """The endpoint with a new secret, by which everything is signed from now on. Raises NotFound."""
    with context.database.transaction() as connection:
        webhooks.rotate(connection, tenant, endpoint_id, _new_secret())
        return webhooks.get(connection, tenant, endpoint_id)
