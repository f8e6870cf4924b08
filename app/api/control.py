"""What OpenAI's Batch API does not have: results as they come, retry, pause and resume."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated, Any

import anyio
import anyio.to_thread
from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from app.api.access import Caller, Services
from app.api.documents import BatchObject, Responses, answers
from app.api.endings import Endings, Ends
from app.api.shapes import Text, batch_shape
from app.domain.errors import NotFound
from app.services import live_results, pausing, retrying
from app.services.context import Context
from app.services.live_results import Page, parse_cursor

router = APIRouter(prefix="/v1")

LINES: Responses = {200: {"content": {"application/x-ndjson": {}}, "description": "A JSON object in each line"}}

LOOK_S = 1.0
"""How often those who follow look for new results: workers record them every few seconds. An end is told at once."""


class Pause(BaseModel):
    """Body of `POST /v1/batches/{batch_id}/pause`."""

    reason: Text = pausing.DEFAULT_REASON


@router.get("/batches/{batch_id}/results", response_class=StreamingResponse, responses=LINES)
async def batch_results(
    context: Services,
    tenant: Caller,
    ends: Ends,
    batch_id: Text,
    after: str = "0",
    limit: Annotated[int | None, Query(ge=1, lt=2**31)] = None,
    follow: bool = False,
) -> StreamingResponse:
    """The lines of the batch's output and error files as they finish, as NDJSON, in the order in which they were
    recorded: first those that validation rejected.

    - `after`: the `sprout.cursor` of the last line that was read; what follows it is given, without gap or repetition.
    - `limit`: at most so many lines; without it, all that there are.
    - `follow`: wait for further lines until the batch has ended.
    """
    look = partial(live_results.page, context, tenant, batch_id)
    # Before anything is answered: a batch that is not there is a 404.
    first = await anyio.to_thread.run_sync(partial(look, after=parse_cursor(after), limit=limit or live_results.PAGE))
    lines = _lines(context, tenant, batch_id, ends if follow else None, first, limit)
    return StreamingResponse(lines, media_type="application/x-ndjson")


async def _lines(
    context: Context, tenant: str, batch_id: str, ends: Endings | None, page: Page, limit: int | None
) -> AsyncIterator[bytes]:
    """`ends`: of those who follow."""
    left = limit
    while True:
        if page.lines:
            yield b"".join(page.lines)
        if left is not None:
            left -= len(page.lines)
        if left == 0 or page.is_last or (not page.lines and ends is None):
            return
        look = partial(live_results.page, context, tenant, batch_id, after=page.cursor, limit=left or live_results.PAGE)
        try:
            page = await (anyio.to_thread.run_sync(look) if page.lines or ends is None else _wait(ends, batch_id, look))
        except NotFound:  # it was deleted meanwhile
            return


async def _wait(ends: Endings, batch_id: str, look: partial[Page]) -> Page:
    """What has come since, after a moment."""
    with ends.expecting(batch_id) as ended, anyio.move_on_after(LOOK_S):
        await ended.wait()
    return await anyio.to_thread.run_sync(look)


@router.post("/batches/{batch_id}/retry", responses=answers(BatchObject))
def retry_batch(context: Services, tenant: Caller, batch_id: Text) -> Any:
    """A new batch over the lines of an ended one that failed, expired or were cancelled; asked again, the same one.

    What was answered is not run again, nor what validation rejected, which cannot succeed: `sprout.note` says so.
    """
    found = retrying.retry(context, tenant, batch_id)
    shape = batch_shape(found.batch, found.counts)
    return {**shape, "sprout": {**shape["sprout"], "note": found.note}}


@router.post("/batches/{batch_id}/pause", responses=answers(BatchObject))
def pause_batch(context: Services, tenant: Caller, batch_id: Text, body: Pause | None = None) -> Any:
    """Run no more of a batch until it is resumed; what runs already ends. Its completion window goes on."""
    return batch_shape(*pausing.pause(context, tenant, batch_id, (body or Pause()).reason))


@router.post("/batches/{batch_id}/resume", responses=answers(BatchObject))
def resume_batch(context: Services, tenant: Caller, batch_id: Text) -> Any:
    """Let a paused batch run on."""
    return batch_shape(*pausing.resume(context, tenant, batch_id))
