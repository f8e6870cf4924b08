"""OpenAI's JSON shapes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StringConstraints

from app.domain.batch import BatchStatus
from app.domain.blind import Choice
from app.store.batches import Batch, Counts
from app.store.files import File

Text = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")]
"""What PostgreSQL can hold or look for: no NUL."""


class AskQuote(BaseModel):
    """Body of `POST /sprout/v1/quote`."""

    requests: dict[Text, int]
    """How many requests there are of each workload; `default` where none is declared."""
    completion_window: str = "24h"
    zones: Text | None = None
    """As `sprout_zones` in the metadata of a batch."""
    level: str | None = None
    """As `sprout_level`."""
    model: Text | None = None
    """The one that the lines name; unset: the installation's own."""
    bytes: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Size of the input file: what would be moved to another zone."""


class CastVote(BaseModel):
    """Body of `POST /sprout/v1/votes`."""

    voter: Text
    pair: Text
    """Its `id`, as it was given to this voter."""
    choice: Choice


class ExpiresAfter(BaseModel):
    """How long a file is kept."""

    anchor: Literal["created_at"]
    """Counted from the creation of the file."""
    seconds: Annotated[int, Field(ge=3600, le=2_592_000)]
    """From an hour to 30 days."""

    @property
    def duration(self) -> timedelta:
        return timedelta(seconds=self.seconds)


class CreateBatch(BaseModel):
    """Body of `POST /v1/batches`."""

    input_file_id: Text
    endpoint: str
    completion_window: str
    metadata: dict[str, str] | None = None
    output_expires_after: ExpiresAfter | None = None


def epoch(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())


def file_shape(file: File) -> dict[str, Any]:
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": epoch(file.created_at),
        "expires_at": epoch(file.expires_at),
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
    }


PLAN_FIELDS = (
    "reason",
    "waits_for_worker",
    "held",
    "waiting_until",
    "expected_end",
    "in_time",
    "footprint_g",
    "footprint_g_interval",
    "at_once_g",
    "intensity_basis",
    "planned_at",
)
"""What a batch shows of its newest plan: `app.services.plan_notes.Note` says what they are."""


TIMES = (
    "created_at",
    "in_progress_at",
    "finalizing_at",
    "completed_at",
    "failed_at",
    "expired_at",
    "cancelling_at",
    "cancelled_at",
)


def batch_shape(batch: Batch, counts: Counts) -> dict[str, Any]:
    """OpenAI's fields, and `sprout`: the schedule; `hold`, why nothing more of it is started for now; and the newest
    plan of what is left, null once it has ended.

    As OpenAI's, a batch has no `expires_at` before it runs, and its `model` is what processed it, once it has ended.
    """
    plan = {} if batch.status.is_final else batch.plan or {}
    has_begun = batch.in_progress_at is not None or batch.status is BatchStatus.EXPIRED
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "model": batch.model if batch.status.is_final else None,
        "errors": None if batch.errors is None else {"object": "list", "data": batch.errors},
        "input_file_id": batch.input_file_id,
        "completion_window": batch.completion_window,
        "status": batch.status,
        "output_file_id": batch.output_file_id,
        "error_file_id": batch.error_file_id,
        **{name: epoch(getattr(batch, name)) for name in TIMES},
        "expires_at": epoch(batch.expires_at) if has_begun else None,
        "request_counts": {"total": batch.total, "completed": counts.completed, "failed": counts.failed},
        "usage": batch.usage,
        "metadata": batch.metadata,
        "sprout": {
            "schedule": batch.schedule,
            "model": batch.model,
            "zones": batch.zones or None,
            "hold": counts.hold if batch.status is BatchStatus.IN_PROGRESS else None,
            **{name: plan.get(name) for name in PLAN_FIELDS},
        },
    }


def list_shape(data: list[dict[str, Any]], *, has_more: bool) -> Mapping[str, Any]:
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": has_more,
    }
