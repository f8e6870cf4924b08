"""Webhooks of a tenant, in the shapes of OpenAI's webhook endpoints."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from app.api.access import Caller, Services
from app.api.shapes import Text, epoch, list_shape
from app.domain.webhook import BATCH_EVENTS, SECRET_PREFIX
from app.services import webhooks
from app.store.webhooks import Endpoint

router = APIRouter(prefix="/sprout/v1/webhooks")


class AddWebhook(BaseModel):
    """Body of `POST /sprout/v1/webhooks`."""

    url: Text
    event_types: list[str] = list(BATCH_EVENTS)
    name: Text = ""


def webhook_shape(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "id": endpoint.id,
        "object": "webhook_endpoint",
        "created_at": epoch(endpoint.created_at),
        "event_types": endpoint.event_types,
        "name": endpoint.name,
        "url": endpoint.url,
        "signing_secret_hint": f"{SECRET_PREFIX}...{endpoint.secret[-4:]}",
    }


@router.post("")
def add_webhook(context: Services, tenant: Caller, body: AddWebhook) -> Any:
    """Have a URL told when batches end. `signing_secret`, by which it knows our calls, is shown here and never again.

    `event_types` are those of `batch.completed`, `batch.failed`, `batch.expired` and `batch.cancelled` that it wants,
    by default all.
    """
    found = webhooks.add(context, tenant, url=body.url, event_types=body.event_types, name=body.name)
    return webhook_shape(found) | {"signing_secret": found.secret}


@router.get("")
def list_webhooks(context: Services, tenant: Caller) -> Any:
    """All webhooks, newest first. `sprout` says how each fares:

    - `last_success_at`, `last_failure_at` and `last_failure`, what was wrong then; null where there was none.
    - `waiting`: events that it has not heard of yet; `given_up`: those that it was told of in vain seven times.
    - `disabled_at`: when it answered 410, and so is told nothing any more; null while it is told.
    """
    return list_shape([_with_health(*each) for each in webhooks.all_of(context, tenant)], has_more=False)


def _with_health(endpoint: Endpoint, waiting: int) -> dict[str, Any]:
    health = {
        "last_success_at": epoch(endpoint.succeeded_at),
        "last_failure_at": epoch(endpoint.failed_at),
        "last_failure": endpoint.fault,
        "waiting": waiting,
        "given_up": endpoint.given_up,
        "disabled_at": epoch(endpoint.disabled_at),
    }
    return webhook_shape(endpoint) | {"sprout": health}


@router.post("/{webhook_id}/rotate_secret")
def rotate_secret(context: Services, tenant: Caller, webhook_id: Text) -> Any:
    """Sign by a new `signing_secret` from now on, shown here and never again."""
    found = webhooks.rotate(context, tenant, webhook_id)
    return webhook_shape(found) | {"signing_secret": found.secret}


@router.delete("/{webhook_id}")
def delete_webhook(context: Services, tenant: Caller, webhook_id: Text) -> Any:
    """Tell a URL nothing any more, what it has not heard of yet included."""
    webhooks.remove(context, tenant, webhook_id)
    return {"id": webhook_id, "object": "webhook_endpoint.deleted", "deleted": True}
