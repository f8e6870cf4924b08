"""Pausing a batch and resuming it."""

from __future__ import annotations

from app.domain.errors import Conflict, InvalidInput
from app.services import batches
from app.services.context import Context
from app.services.deferral import plan_open
from app.services.dispatch import ring_for_shards
from app.store import batches as stored
from app.store.batches import OPEN, Batch, Counts

DEFAULT_REASON = "its user asked for it"
LONGEST_REASON = 512


def pause(context: Context, tenant: str, batch_id: str, reason: str = DEFAULT_REASON) -> tuple[Batch, Counts]:
    """Lease none of its shards any more; what runs already ends, and the others get its room. Does nothing to a batch
    that is paused.

    Its completion window goes on.

    Raises:
        NotFound: no such batch.
        Conflict: it has ended, or is just ending.
        InvalidInput: an unusable reason.
    """
    if not 1 <= len(reason) <= LONGEST_REASON or "\0" in reason:
        raise InvalidInput(f"'reason' must have 1 to {LONGEST_REASON} characters.", param="reason")
    with context.database.transaction() as connection:
        stored.get(connection, tenant, batch_id)
        if stored.pause(connection, batch_id, reason, context.clock.now()):
            plan_open(context, connection)
        # Read again: it may have waited for somebody else's move.
        _check_open(stored.get(connection, tenant, batch_id), "paused")
    return batches.get(context, tenant, batch_id)


def resume(context: Context, tenant: str, batch_id: str) -> tuple[Batch, Counts]:
    """Let a paused batch run on; it is planned anew, behind what was promised to others meanwhile. Does nothing to one
    that is not paused.

    Raises:
        NotFound: no such batch.
        Conflict: it has ended, or is just ending.
    """
    with context.database.transaction() as connection:
        stored.get(connection, tenant, batch_id)
        if stored.resume(connection, batch_id):
            plan_open(context, connection)
        _check_open(stored.get(connection, tenant, batch_id), "resumed")
    ring_for_shards(context)
    return batches.get(context, tenant, batch_id)


def _check_open(batch: Batch, what: str) -> None:
    if batch.status not in OPEN:
        raise Conflict(f"Batch '{batch.id}' is {batch.status} and can no longer be {what}.")
