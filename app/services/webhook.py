"""Telling a webhook of events."""

from __future__ import annotations

import logging
from datetime import timedelta

import httpx

from app.services.context import Context
from app.store import events
from app.store.events import Event

log = logging.getLogger(__name__)

TIMEOUT_S = 5.0
AT_ONCE = 3
"""Events of a tick: a webhook that hangs must not hold up the tick for long."""

NEWS = timedelta(days=1)
"""An older event is nothing to be told of any more."""


def tell(context: Context) -> None:
    """Send what has not been sent yet to SPROUT_WEBHOOK_URL, once a tick each, a few times at most."""
    url = context.settings.webhook_url
    if url is None:
        return
    with context.database.transaction() as connection:
        news = events.untold(connection, since=context.clock.now() - NEWS, limit=AT_ONCE)
    for event in news:
        fault = _tell(url.get_secret_value(), event)
        if fault:
            log.warning("the webhook was not told of event %d: %s", event.id, fault)
        with context.database.transaction() as connection:
            events.tried(connection, event.id, told_at=None if fault else context.clock.now())


def _tell(url: str, event: Event) -> str:
    """What went wrong, without the URL, which may hold a secret; empty if nothing did."""
    body = {
        "type": event.kind,
        "timestamp": event.at.isoformat(),
        "data": {"message": event.message, **event.details},
    }
    headers = {"webhook-id": f"event_{event.id}"}
    try:
        # What it has to say beside the status is not waited for.
        with httpx.stream("POST", url, json=body, timeout=TIMEOUT_S, headers=headers) as response:
            return "" if response.is_success else f"it answered {response.status_code}"
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        return type(exc).__name__
