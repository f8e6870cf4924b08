"""OpenAI's Files API."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import anyio
import anyio.to_thread
from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse

from app.api.access import Caller, Services
from app.api.shapes import Text, file_shape, list_shape
from app.api.uploads import FileForm
from app.services import files

router = APIRouter(prefix="/v1")

UPLOADS = anyio.CapacityLimiter(100)
"""Uploads at once: each holds a thread for as long as its client takes, and those of other calls must not run out."""


@router.post("/files")
async def upload_file(context: Services, tenant: Caller, request: Request) -> Any:
    form = FileForm(request)
    upload = partial(files.upload, context, tenant, chunks=form.chunks(), names=form.names)
    return file_shape(await anyio.to_thread.run_sync(upload, limiter=UPLOADS))


@router.get("/files")
def list_files(
    context: Services,
    tenant: Caller,
    purpose: Text | None = None,
    after: Text | None = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
) -> Any:
    page, has_more = files.newest(context, tenant, purpose=purpose, after=after, limit=limit)
    return list_shape([file_shape(file) for file in page], has_more=has_more)


@router.get("/files/{file_id}")
def retrieve_file(context: Services, tenant: Caller, file_id: Text) -> Any:
    return file_shape(files.content(context, tenant, file_id)[0])


@router.get("/files/{file_id}/content")
def file_content(context: Services, tenant: Caller, file_id: Text) -> FileResponse:
    file, path = files.content(context, tenant, file_id)
    return FileResponse(path, filename=file.filename, media_type="application/octet-stream")


@router.delete("/files/{file_id}")
def delete_file(context: Services, tenant: Caller, file_id: Text) -> Any:
    files.delete(context, tenant, file_id)
    return {"id": file_id, "object": "file", "deleted": True}
