"""Finding lost work: what was never started, whose worker fell silent, or whose time has run out; files as well."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from app.domain.batch import BatchStatus
from app.domain.shard import LOSSES_BEFORE_POISON, AfterLoss, Lines, after_loss
from app.ports import Task
from app.services import files, limits
from app.services.context import Context
from app.services.dispatch import ring, ring_for_shards
from app.store import batches, requests, results, shards, sharing
from app.store.requests import StoredRequest
from app.store.shards import Shard

log = logging.getLogger(__name__)

POISON = "poison_request"


def reconcile(context: Context) -> None:
    """One tick. Idempotent, and safe beside workers and other ticks."""
    _recover_lapsed(context)
    _close_ended(context)
    _ring_again(context)
    limits.hold(context)
    ring_for_shards(context)
    files.remove_expired(context)


def _recover_lapsed(context: Context) -> None:
    now = context.clock.now()
    with context.database.transaction() as connection:
        for shard in shards.lapsed(connection, now):
            try:
                with connection.begin_nested():
                    _recover(context, connection, shard)
            except SQLAlchemyError:
                # One shard must not keep the others from being recovered, tick after tick.
                log.exception("shard %s cannot be recovered", shard.id)


def _recover(context: Context, connection: Connection, shard: Shard) -> None:
    if shard.copy_of is not None:
        # Its lines are also another's.
        sharing.end_copy(connection, shard.id)
        return
    unanswered = requests.unanswered(connection, shard.batch_id, shard.first_line, shard.last_line)
    losses = shard.losses + 1
    action = after_loss(losses=losses, unanswered=len(unanswered)) if unanswered else None
    log.warning("shard %s lost its worker, loss %d, %d unanswered: %s", shard.id, losses, len(unanswered), action)
    match action:
        case None:
            shards.close(connection, shard.id)
        case AfterLoss.RETRY:
            shards.retry(connection, shard)
        case AfterLoss.HALVE:
            _halve(context, connection, shard, unanswered, losses)
        case AfterLoss.POISON:
            _give_up(context, connection, shard)


def _halve(
    context: Context, connection: Connection, shard: Shard, unanswered: Sequence[StoredRequest], losses: int
) -> None:
    half = len(unanswered) // 2
    middle = unanswered[half].line
    halves = (Lines(shard.first_line, middle - 1, half), Lines(middle, shard.last_line, len(unanswered) - half))
    shards.close(connection, shard.id)
    shards.add(
        connection,
        tenant=shard.tenant_id,
        batch_id=shard.batch_id,
        ranges=halves,
        now=context.clock.now(),
        place=shard.zone,
        losses=losses,
    )


def _give_up(context: Context, connection: Connection, shard: Shard) -> None:
    failed = results.fail_unanswered(
        connection,
        shard.batch_id,
        code=POISON,
        message=f"This request was given up: {LOSSES_BEFORE_POISON} workers died while it ran, the last alone with it.",
        now=context.clock.now(),
        lines=(shard.first_line, shard.last_line),
    )
    shards.close(connection, shard.id, failed=failed)


def _close_ended(context: Context) -> None:
    now = context.clock.now()
    with context.database.transaction() as connection:
        for batch_id in batches.answered(connection):
            batches.move(connection, batch_id, BatchStatus.FINALIZING, now)
        for batch_id in batches.overdue(connection, now):
            if batches.move(connection, batch_id, BatchStatus.FINALIZING, now):
                shards.close_all(connection, batch_id)
            else:
                batches.move(connection, batch_id, BatchStatus.EXPIRED, now)


def _ring_again(context: Context) -> None:
    now, resend = context.clock.now(), context.settings.resend
    with context.database.transaction() as connection:
        to_validate = batches.due(connection, BatchStatus.VALIDATING, now=now, resend=resend)
        to_finalize = [
            batch_id
            for status in (BatchStatus.FINALIZING, BatchStatus.CANCELLING)
            for batch_id in batches.due(connection, status, now=now, resend=resend)
        ]
    for batch_id in to_validate:
        ring(context, Task.VALIDATE, batch_id)
    for batch_id in to_finalize:
        ring(context, Task.FINALIZE, batch_id)


def end_if_answered(context: Context, batch_id: str) -> None:
    """Start finalizing a batch whose last shard has just ended, without waiting for the next tick."""
    now = context.clock.now()
    with context.database.transaction() as connection:
        ended = shards.all_done(connection, batch_id) and batches.move(
            connection, batch_id, BatchStatus.FINALIZING, now, sent_at=now
        )
    if ended:
        ring(context, Task.FINALIZE, batch_id)
