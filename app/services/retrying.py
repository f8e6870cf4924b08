"""Running again what has failed in a batch, and only that."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from app.domain.batch import BatchStatus, parse_completion_window
from app.domain.errors import Conflict
from app.domain.shard import Cutter
from app.services import limits
from app.services.context import Context
from app.services.dispatch import ring_for_shards
from app.services.validation import Stored, admit
from app.store import batches, requests
from app.store.batches import Batch, Counts
from app.store.ids import new_id

_GONE = "The requests of batch '{}' were deleted, as their retention says: create a new batch from your own file."


@dataclass(frozen=True, kw_only=True)
class Retry:
    batch: Batch
    counts: Counts
    answered: int
    """Lines of the first batch that are not run again: they have an answer."""
    rejected: int
    """And those that were rejected at validation: they would be so again."""

    @property
    def note(self) -> str:
        text = (
            f"{self.batch.total} lines of batch '{self.batch.retry_of}' are run again; {self.answered} have an answer"
        )
        if not self.rejected:
            return f"{text} and are not."
        return f"{text}, and {self.rejected} were rejected at validation and cannot succeed: these are not."


def retry(context: Context, tenant: str, batch_id: str) -> Retry:
    """A new batch over the lines of an ended one that failed, expired or were cancelled, from what is stored of them:
    the input file is not needed. A batch has one retry: whoever asks again is given it, and what fails in it is retried
    by retrying it.

    Raises:
        NotFound: no such batch.
        Conflict: it has not ended, nothing in it can be retried, or its requests are no longer there.
        LimitExceeded: the tenant has used up one of its limits, or may not queue so many requests.
    """
    with context.database.transaction() as connection:
        batches.get(connection, tenant, batch_id)
        # Whoever else retries it now waits, and is given the same retry.
        batches.lock(connection, batch_id)
        first = batches.get(connection, tenant, batch_id)
        own_id = batches.retry_of(connection, batch_id)
        if own_id is None:
            _check_ended(first)
            own_id = _create(context, connection, first)
        own = batches.get(connection, tenant, own_id)
        counts = batches.counts(connection, [own_id])[own_id]
    ring_for_shards(context)
    answered = first.total - first.rejected - own.total
    return Retry(batch=own, counts=counts, answered=answered, rejected=first.rejected)


def _check_ended(batch: Batch) -> None:
    if batch.status is BatchStatus.FAILED:
        raise Conflict(
            f"Batch '{batch.id}' was refused at validation and none of its lines was run: mend its file and create a "
            "new batch."
        )
    if batch.prompts_gone_at is not None:
        raise Conflict(_GONE.format(batch.id))
    if not batch.status.is_final:
        raise Conflict(f"Batch '{batch.id}' is {batch.status}: it can be retried once it has ended; cancel it first.")


def _create(context: Context, connection: Connection, first: Batch) -> str:
    now = context.clock.now()
    copied: Mapping[str, Any] = {
        name: getattr(first, name)
        for name in (
            "tenant_id", "endpoint", "input_file_id", "completion_window", "metadata", "schedule", "zones", "priority",
            "output_expires_after_s",
        )
    }  # fmt: skip
    batch = Batch(
        id=new_id("batch_"),
        status=BatchStatus.VALIDATING,
        created_at=now,
        expires_at=now + parse_completion_window(first.completion_window),
        retry_of=first.id,
        **copied,
    )
    limits.check(connection, first.tenant_id, now)
    batches.add(connection, batch)
    requests.copy_failed(connection, first.id, batch.id)
    cutter = Cutter(context.settings.shard_size)
    with closing(requests.in_line_order(connection, batch.id)) as entries:
        deque(cutter.passing(entries), maxlen=0)
    if not cutter.requests:
        raise Conflict(_nothing(first, requests.count(connection, first.id)))
    if requests.lack_texts(connection, batch.id):  # retention has begun, and has not said so yet
        raise Conflict(_GONE.format(first.id))
    limits.admit(connection, first.tenant_id, cutter.requests)
    model = first.model or context.settings.home_model
    # Nobody else can have moved it: it is not committed yet.
    admit(context, connection, batch, Stored(cutter, model, rejected=0, faults=()))
    return batch.id


def _nothing(first: Batch, stored: int) -> str:
    if stored:
        rejected = f"; the {first.rejected} that validation rejected cannot succeed" if first.rejected else ""
        return f"Batch '{first.id}' has no failed, expired or cancelled lines: there is nothing to retry{rejected}."
    if first.total:
        return _GONE.format(first.id)
    return (
        f"Batch '{first.id}' ended before its lines were validated, and none of them is stored: create a new batch "
        "from its file."
    )
