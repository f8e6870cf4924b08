"""OpenAI's Files API."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

import anyio
import anyio.to_thread
from fastapi import APIRouter, Query, Request, Response

from app.api.access import Caller, Services
from app.api.content import content_response
from app.api.documents import CONTENT, UPLOAD, FileDeleted, FileList, FileObject, answers
from app.api.shapes import Text, file_shape, list_shape
from app.api.uploads import FileForm
from app.services import files

router = APIRouter(prefix="/v1")

UPLOADS = anyio.CapacityLimiter(100)
"""Uploads at once: each holds a thread for as long as its client takes, and those of other calls must not run out."""


@router.post("/files", responses=answers(FileObject), openapi_extra=dict(UPLOAD))
async def upload_file(context: Services, tenant: Caller, request: Request) -> Any:
    """Store an input file. A larger one than SPROUT_MAX_FILE_BYTES is refused."""
    form = FileForm(request)
    upload = partial(files.upload, context, tenant, chunks=form.chunks(), describe=form.described)
    return file_shape(await anyio.to_thread.run_sync(upload, limiter=UPLOADS))


@router.get("/files", responses=answers(FileList))
def list_files(
    context: Services,
    tenant: Caller,
    purpose: Text | None = None,
    after: Text | None = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    order: Literal["asc", "desc"] = "desc",
) -> Any:
    """Files in the order of their creation, from behind the file `after` on."""
    page, has_more = files.page(context, tenant, purpose=purpose, after=after, limit=limit, oldest_first=order == "asc")
    return list_shape([file_shape(file) for file in page], has_more=has_more)


@router.get("/files/{file_id}", responses=answers(FileObject))
def retrieve_file(context: Services, tenant: Caller, file_id: Text) -> Any:
    """What a file is."""
    return file_shape(files.get(context, tenant, file_id))


@router.head("/files/{file_id}/content", include_in_schema=False)
@router.get("/files/{file_id}/content", responses=CONTENT, response_class=Response)
def file_content(context: Services, tenant: Caller, request: Request, file_id: Text) -> Response:
    """The bytes of a file, or the range of them that the header `Range` names."""
    return content_response(request, *files.content(context, tenant, file_id))


@router.delete("/files/{file_id}", responses=answers(FileDeleted))
def delete_file(context: Services, tenant: Caller, file_id: Text) -> Any:
    """Delete a file. One of a batch that has not ended is refused."""
    files.delete(context, tenant, file_id)
    return {"id": file_id, "object": "file", "deleted": True}
