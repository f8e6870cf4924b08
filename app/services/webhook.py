"""Telling a webhook of events."""

from __future__ import annotations

import logging
from datetime import timedelta

import httpx

from app.services.context import Context
from app.store import events

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
        for event in events.untold(connection, since=context.clock.now() - NEWS, limit=AT_ONCE):
            body = {
                "type": event.kind,
                "timestamp": event.at.isoformat(),
                "data": {"message": event.message, **event.details},
            }
            try:
                httpx.post(
                    url, json=body, timeout=TIMEOUT_S, headers={"webhook-id": f"event_{event.id}"}
                ).raise_for_status()
                told_at = context.clock.now()
            except (httpx.HTTPError, httpx.InvalidURL) as exc:
                log.warning("the webhook was not told of event %d: %r", event.id, exc)
                told_at = None
            events.tried(connection, event.id, told_at=told_at)
