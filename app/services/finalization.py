"""Writing a batch's output and error files when its last shard has ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from datetime import datetime, timedelta
from heapq import merge
from operator import attrgetter
from typing import Any

import msgspec
from sqlalchemy import Connection

from app.domain.batch import BatchStatus
from app.domain.completion import error_body
from app.domain.profile import Profile
from app.domain.rejection import Rejection
from app.services import batch_ledger
from app.services.context import Context
from app.services.line_ledger import l0_profiles, of_line
from app.store import batches, files, rejections, results
from app.store.batches import Batch
from app.store.files import File
from app.store.results import Result

UNANSWERED = {
    BatchStatus.FINALIZING: (
        "batch_expired",
        "This request could not be executed before the completion window expired.",
    ),
    BatchStatus.CANCELLING: ("batch_cancelled", "This request was not executed: the batch was cancelled."),
}
"""Error of the requests that have no result when a batch ends, with OpenAI's wording for expiry."""


def finalize(context: Context, batch_id: str) -> None:
    """Move a batch from `finalizing` to `completed` or `expired`, or from `cancelling` to `cancelled`.

    Does nothing if that has happened already. The file ids follow from the batch id, so that a repeated run after a
    crash writes the same files again instead of others.
    """
    with context.database.transaction() as connection:
        batch = batches.find(connection, batch_id) if batches.claim(connection, batch_id) else None
        if batch is None or batch.status not in UNANSWERED:
            return
        now = context.clock.now()
        code, message = UNANSWERED[batch.status]
        missing = results.fail_unanswered(connection, batch_id, code=code, message=message, now=now)
        if batch.status is BatchStatus.CANCELLING:
            target = BatchStatus.CANCELLED
        else:
            target = BatchStatus.EXPIRED if missing else BatchStatus.COMPLETED
        values = _write_files(context, connection, batch)
        batches.move(connection, batch_id, target, now, **values)


def _write_files(context: Context, connection: Connection, batch: Batch) -> dict[str, Any]:
    suffix = batch.id.removeprefix("batch_")
    ids = {True: f"file-{suffix}-output", False: f"file-{suffix}-errors"}
    names = {True: f"{batch.id}_output.jsonl", False: f"{batch.id}_error.jsonl"}
    lines, sizes = {True: 0, False: 0}, {True: 0, False: 0}
    prompt_tokens = completion_tokens = 0
    model: str | None = None
    known = l0_profiles(connection, context.settings, batch)
    with ExitStack() as stack:
        targets = {good: stack.enter_context(context.files.create(ids[good])) for good in ids}
        for found in _in_line_order(connection, batch.id, stack):
            if isinstance(found, Rejection):
                good, entry = False, rejected_line(batch.id, found)
            else:
                good, entry = found.status_code == 200, output_line(found, known)
                prompt_tokens += found.prompt_tokens
                completion_tokens += found.completion_tokens
                model = model or found.model or None
            sizes[good] += targets[good].write(line_bytes(entry))
            lines[good] += 1
    now = context.clock.now()
    for good, file_id in ids.items():
        if lines[good]:
            files.add(connection, _file(batch, file_id, names[good], sizes[good], now))
        else:
            context.files.remove(file_id)
    return {
        "output_file_id": ids[True] if lines[True] else None,
        "error_file_id": ids[False] if lines[False] else None,
        "completed": lines[True],
        "failed": lines[False],
        "model": model or batch.model,
        "usage": _usage(prompt_tokens, completion_tokens),
        "ledger": batch_ledger.of_batch(connection, context.settings, batch),
    }


def _file(batch: Batch, file_id: str, name: str, size: int, now: datetime) -> File:
    kept_s = batch.output_expires_after_s
    return File(
        id=file_id,
        tenant_id=batch.tenant_id,
        purpose="batch_output",
        filename=name,
        bytes=size,
        created_at=now,
        expires_at=None if kept_s is None else now + timedelta(seconds=kept_s),
    )


def _in_line_order(connection: Connection, batch_id: str, stack: ExitStack) -> Iterator[Result | Rejection]:
    """Every line of the input, streamed until `stack` ends."""
    found = stack.enter_context(closing(results.in_line_order(connection, batch_id)))
    rejected = stack.enter_context(closing(rejections.in_line_order(connection, batch_id)))
    return merge(found, rejected, key=attrgetter("line"))


def _usage(prompt_tokens: int, completion_tokens: int) -> Mapping[str, Any]:
    return {
        "input_tokens": prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": prompt_tokens + completion_tokens,
    }


def output_line(result: Result, known: Mapping[str, Profile]) -> dict[str, Any]:
    """A line of an output or error file: OpenAI's fields, and `sprout` with the request's row of the ledger; `known`
    says what L0 costs, by workload."""
    request_id = f"{result.batch_id}-{result.custom_id}"
    response = error = None
    if result.error_code is not None:
        error = dict(result.body or {"code": result.error_code, "message": "Its text is no longer kept."})
    else:
        response = {"status_code": result.status_code, "request_id": f"req_{request_id}", "body": result.body}
    return {
        "id": f"batch_req_{request_id}",
        "custom_id": result.custom_id,
        "response": response,
        "error": error,
        "sprout": of_line(result, known),
    }


def rejected_line(batch_id: str, rejected: Rejection) -> dict[str, Any]:
    """A line of an error file, for a line of the input that was never a request: as a server that refuses it."""
    # No request's id: those have a hyphen there.
    name = f"{batch_id}.{rejected.line}"
    body = error_body(rejected.message, param=rejected.param, code=rejected.code)
    return {
        "id": f"batch_req_{name}",
        "custom_id": rejected.custom_id,
        "response": {"status_code": 400, "request_id": f"req_{name}", "body": body},
        "error": None,
        "sprout": {"line": rejected.line},
    }


def line_bytes(entry: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode(entry) + b"\n"
