"""Ringing for work that PostgreSQL holds."""

from __future__ import annotations

import logging
from datetime import timedelta

from app.domain.errors import DispatchUnavailable
from app.ports import Queue, Task
from app.services.context import Context
from app.store import shards

log = logging.getLogger(__name__)

QUEUE_DEPTH = 16
"""Shards kept waiting in the broker of a zone: enough to keep workers busy, few enough that a lost broker loses little
and that urgent work, which can only be put behind them, need not wait long."""


def ring(context: Context, task: Task, argument: str) -> None:
    """Send, or leave it to the next reconciliation if the broker is away."""
    try:
        context.dispatcher.send(task, argument)
    except DispatchUnavailable as exc:
        log.warning("%s of %s waits: %s", task, argument, exc.message)


def ring_for_shards(context: Context) -> int:
    """Top the generate queue of every zone up with released shards; returns how many were sent."""
    return sum(_ring_in(context, place) for place in context.settings.places)


def _ring_in(context: Context, place: str) -> int:
    settings = context.settings
    sent = 0
    found: list[str] = []
    try:
        room = QUEUE_DEPTH - context.dispatcher.depth(Queue.GENERATE, place=place)
        if room <= 0:
            return 0
        with context.database.transaction() as connection:
            found = list(
                shards.waiting(
                    connection,
                    place=place,
                    limit=room,
                    now=context.clock.now(),
                    resend=timedelta(seconds=settings.resend_s),
                )
            )
        for shard_id in found:
            context.dispatcher.send(Task.GENERATE, shard_id, place=place)
            sent += 1
    except DispatchUnavailable as exc:
        log.warning("%d shards wait: %s", len(found) - sent, exc.message)
        with context.database.transaction() as connection:
            shards.unsend(connection, found[sent:])
    return sent
