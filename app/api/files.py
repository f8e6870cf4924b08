"""OpenAI's Files API."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

import anyio
import anyio.to_thread
from fastapi import APIRouter, Query, Request, Response

from app.api.access import Caller, Services
from app.api.content import content_response
from app.api.shapes import Text, file_shape, list_shape
from app.api.uploads import FileForm
from app.services import files

router = APIRouter(prefix="/v1")

UPLOADS = anyio.CapacityLimiter(100)
"""Uploads at once: each holds a thread for as long as its client takes, and those of other calls must not run out."""


@router.post("/files")
async def upload_file(context: Services, tenant: Caller, request: Request) -> Any:
    form = FileForm(request)
    upload = partial(files.upload, context, tenant, chunks=form.chunks(), describe=form.described)
    return file_shape(await anyio.to_thread.run_sync(upload, limiter=UPLOADS))


@router.get("/files")
def list_files(
    context: Services,
    tenant: Caller,
    purpose: Text | None = None,
    after: Text | None = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    order: Literal["asc", "desc"] = "desc",
) -> Any:
    page, has_more = files.page(context, tenant, purpose=purpose, after=after, limit=limit, oldest_first=order == "asc")
    return list_shape([file_shape(file) for file in page], has_more=has_more)


@router.get("/files/{file_id}")
def retrieve_file(context: Services, tenant: Caller, file_id: Text) -> Any:
    return file_shape(files.get(context, tenant, file_id))


@router.head("/files/{file_id}/content", include_in_schema=False)
@router.get("/files/{file_id}/content")
def file_content(context: Services, tenant: Caller, request: Request, file_id: Text) -> Response:
    """The bytes of a file, or the range of them that the header `Range` names."""
    return content_response(request, *files.content(context, tenant, file_id))


@router.delete("/files/{file_id}")
def delete_file(context: Services, tenant: Caller, file_id: Text) -> Any:
    files.delete(context, tenant, file_id)
    return {"id": file_id, "object": "file", "deleted": True}
