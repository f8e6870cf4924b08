"""Telling webhooks what has happened: from the outbox, at least once, and without anybody waiting for it."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable
from datetime import timedelta

import httpx

from app.domain.errors import ServiceUnavailable
from app.domain.webhook import headers, next_wait
from app.outbound.connection import Resolve, resolve
from app.outbound.post import post
from app.services.context import Context
from app.store import webhooks
from app.store.webhooks import Delivery

log = logging.getLogger(__name__)

SLOTS = 16
"""Tries that a process makes at once, each on a thread of its own, because an endpoint may let it wait."""

LEASE = timedelta(seconds=120)
"""Much longer than a try takes: one that was not heard of for so long died with its process, and is made again."""


def publish_operator(context: Context) -> None:
    """Have SPROUT_WEBHOOK_URL told of what happens from now on."""
    settings = context.settings
    url = settings.webhook_url.get_secret_value() if settings.webhook_url else None
    secret = settings.webhook_secret.get_secret_value() if settings.webhook_secret else ""
    with context.database.transaction() as connection:
        webhooks.put_operator(connection, url=url, secret=secret, now=context.clock.now())


class Teller:
    """Threads that send what is due, up to SLOTS of them, and end when nothing is left.

    They are daemons: what is being sent when the process ends is sent again by another one.
    """

    def __init__(self, context: Context, *, slots: int = SLOTS) -> None:
        self._context = context
        self._slots = threading.BoundedSemaphore(slots)

    def wake(self) -> None:
        """Look for what is due, beside those who do already. Returns at once."""
        if self._slots.acquire(blocking=False):
            threading.Thread(target=self._work, daemon=True, name="teller").start()

    def _work(self) -> None:
        try:
            # Where there was one there may be more, and this one may take long.
            while tell_next(self._context, before=self.wake):
                pass
        except ServiceUnavailable as exc:
            log.warning("webhooks wait: %s", exc.message)
        except Exception:
            # The lease ends, and it is tried again; a thread has nobody to tell.
            log.exception("a webhook could not be told")
        finally:
            self._slots.release()


def tell_next(context: Context, *, before: Callable[[], None] = lambda: None, resolve: Resolve = resolve) -> bool:
    """Make one try of what is due first; whether anything was. `before` is called once that is taken."""
    with context.database.transaction() as connection:
        delivery = webhooks.claim(connection, now=context.clock.now(), lease=LEASE * context.settings.clock_speed)
    if delivery is None:
        return False
    before()
    _try(context, delivery, resolve)
    return True


def _try(context: Context, delivery: Delivery, resolve: Resolve) -> None:
    endpoint = delivery.endpoint
    reply = post(
        endpoint.url,
        delivery.body,
        headers(endpoint.secret, delivery.id, delivery.body, context.clock.now()),
        # The operator's own setting is trusted with the operator's own network.
        private=context.settings.webhook_private or endpoint.tenant_id is None,
        now=context.clock.now(),
        resolve=resolve,
    )
    now = context.clock.now()
    with context.database.transaction() as connection:
        if not reply.fault:
            webhooks.heard(connection, delivery, now)
            return
        wait = next_wait(delivery.tries + 1, asked=reply.wait, chance=secrets.randbelow(1000) / 1000)
        webhooks.failed(connection, delivery, now, fault=reply.fault, wait=wait, gone=reply.gone)
    then = _then(gone=reply.gone, wait=wait)
    # Without its path and query, which may hold a secret.
    host = httpx.URL(endpoint.url).host
    log.warning("webhook %s at %s was not told of %s: %s; %s", endpoint.id, host, delivery.id, reply.fault, then)


def _then(*, gone: bool, wait: timedelta | None) -> str:
    if gone:
        return "it is told nothing any more"
    return "this was the last try" if wait is None else f"next try in {wait.total_seconds():.0f} s"
