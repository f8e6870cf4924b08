"""Ringing for work that PostgreSQL holds."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from app.domain.errors import DispatchUnavailable
from app.ports import Queue, Task
from app.services import capacity
from app.services.context import Context
from app.store import rounds, shards, turns
from app.store.turns import Waiting

log = logging.getLogger(__name__)

QUEUE_DEPTH = 16
"""Shards kept waiting in the broker of a zone: enough to keep workers busy, and so few that losing it loses little."""

MOST_WAITING = 2 * QUEUE_DEPTH - 1
"""With what is urgent, which overtakes a full queue."""


def ring(context: Context, task: Task, argument: str) -> None:
    """Send, or leave it to the next reconciliation if the broker is away."""
    try:
        context.dispatcher.send(task, argument)
    except DispatchUnavailable as exc:
        log.warning("%s of %s waits: %s", task, argument, exc.message)


def ring_for_shards(context: Context, *, most_waiting: int = MOST_WAITING) -> int:
    """Top the generate queues up with released shards, of every zone and every model that is served; returns how many
    were sent. A queue with more than `most_waiting` messages is left alone.

    The installation's own model is always rung for: its workers may be starting.
    """
    settings = context.settings
    with context.database.transaction() as connection:
        models = {settings.home_model, *capacity.served(connection, settings, context.clock.now())}
    sites = [(place, model) for model in sorted(models) for place in settings.places]
    return sum(_ring_in(context, place, model, most_waiting) for place, model in sites)


def ring_for_round(context: Context, round_id: str, model: str, *, place: str) -> None:
    """Wake a worker of a zone for a round of evaluation, once in a while: it goes on by itself as long as it may."""
    now, named = context.clock.now(), context.settings.queue_model(model)
    with context.database.transaction() as connection:
        if not rounds.due(connection, round_id, now=now, resend=context.settings.tick):
            return
    try:
        # One message at most: nothing is gained by a second, and a queue that was held shows none.
        if not context.dispatcher.depth(Queue.EVALUATE, place=place, model=named):
            context.dispatcher.send(Task.EVALUATE, round_id, place=place, model=named)
    except DispatchUnavailable as exc:
        log.warning("round %s waits: %s", round_id, exc.message)


def top_up(context: Context) -> int:
    """The same for a worker, who has run a shard: once half of what is kept waiting has gone. What has become urgent
    meanwhile is seen to by the tick.

    To find what goes next, all that waits is looked through.
    """
    return ring_for_shards(context, most_waiting=QUEUE_DEPTH // 2)


def _ring_in(context: Context, place: str, model: str, most_waiting: int) -> int:
    sent = 0
    found: Sequence[Waiting] = ()
    named = context.settings.queue_model(model)
    try:
        depth = context.dispatcher.depth(Queue.GENERATE, place=place, model=named)
        if depth > most_waiting:
            return 0
        room = QUEUE_DEPTH - depth
        with context.database.transaction() as connection:
            found = turns.waiting(
                connection,
                place=place,
                model=model,
                # What is urgent overtakes a full queue.
                limit=room if room > 0 else QUEUE_DEPTH,
                only_urgent=room <= 0,
                now=context.clock.now(),
                resend=context.settings.resend,
            )
        for shard in found:
            context.dispatcher.send(Task.GENERATE, shard.id, place=place, model=named, urgent=shard.urgent)
            sent += 1
    except DispatchUnavailable as exc:
        log.warning("%d shards wait: %s", len(found) - sent, exc.message)
        with context.database.transaction() as connection:
            shards.unsend(connection, [shard.id for shard in found[sent:]])
    return sent
