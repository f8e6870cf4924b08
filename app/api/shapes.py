"""OpenAI's JSON shapes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, StringConstraints

from app.store.batches import Batch, Counts
from app.store.files import File

Text = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")]
"""What PostgreSQL can hold or look for: no NUL."""


class CreateBatch(BaseModel):
    """Body of `POST /v1/batches`."""

    input_file_id: Text
    endpoint: str
    completion_window: str
    metadata: dict[str, str] | None = None


def epoch(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())


def file_shape(file: File) -> dict[str, Any]:
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": epoch(file.created_at),
        "expires_at": None,
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
    }


def batch_shape(batch: Batch, counts: Counts) -> dict[str, Any]:
    times = (
        "created_at",
        "in_progress_at",
        "expires_at",
        "finalizing_at",
        "completed_at",
        "failed_at",
        "expired_at",
        "cancelling_at",
        "cancelled_at",
    )
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "model": batch.model,
        "errors": None if batch.errors is None else {"object": "list", "data": batch.errors},
        "input_file_id": batch.input_file_id,
        "completion_window": batch.completion_window,
        "status": batch.status,
        "output_file_id": batch.output_file_id,
        "error_file_id": batch.error_file_id,
        **{name: epoch(getattr(batch, name)) for name in times},
        "request_counts": {"total": batch.total, "completed": counts.completed, "failed": counts.failed},
        "usage": batch.usage,
        "metadata": batch.metadata,
    }


def list_shape(data: list[dict[str, Any]], *, has_more: bool) -> Mapping[str, Any]:
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": has_more,
    }
