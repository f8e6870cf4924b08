"""OpenAI's Batch API."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from app.api.access import Caller, Services
from app.api.documents import BatchList, BatchObject, answers
from app.api.shapes import CreateBatch, Text, batch_shape, list_shape
from app.services import batches

router = APIRouter(prefix="/v1")

Limit = Annotated[int, Query(ge=1, le=100)]


@router.post("/batches", responses=answers(BatchObject))
def create_batch(context: Services, tenant: Caller, body: CreateBatch) -> Any:
    batch = batches.create(
        context,
        tenant,
        input_file_id=body.input_file_id,
        endpoint=body.endpoint,
        completion_window=body.completion_window,
        metadata=body.metadata,
        output_expires_after_s=body.output_expires_after.seconds if body.output_expires_after else None,
    )
    return batch_shape(*batches.get(context, tenant, batch.id))


@router.get("/batches", responses=answers(BatchList))
def list_batches(context: Services, tenant: Caller, after: Text | None = None, limit: Limit = 20) -> Any:
    page, has_more = batches.newest(context, tenant, after=after, limit=limit)
    return list_shape([batch_shape(batch, counts) for batch, counts in page], has_more=has_more)


@router.get("/batches/{batch_id}", responses=answers(BatchObject))
def retrieve_batch(context: Services, tenant: Caller, batch_id: Text) -> Any:
    return batch_shape(*batches.get(context, tenant, batch_id))


@router.post("/batches/{batch_id}/cancel", responses=answers(BatchObject))
def cancel_batch(context: Services, tenant: Caller, batch_id: Text) -> Any:
    return batch_shape(*batches.cancel(context, tenant, batch_id))
