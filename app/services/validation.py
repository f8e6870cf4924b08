"""Checking a batch's input file line by line, storing its requests and cutting shards."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, BinaryIO

from sqlalchemy import Connection

from app.domain.batch import BatchStatus, zone_within
from app.domain.errors import ContextExceeded, InvalidInput, InvalidRequestLine, NotFound
from app.domain.request import Request, RequestDefaults, named_model, parse_line
from app.ports import Tokenizer
from app.services import deferral, directives, discovery
from app.services.batches import model_of, request_defaults
from app.services.context import Context
from app.services.dispatch import ring_for_shards
from app.store import batches, requests, shards
from app.store.batches import Batch

log = logging.getLogger(__name__)

MAX_ERRORS = 100
"""Faulty lines that a failed batch reports; the file is read no further."""


class InputFile:
    """The requests of an input file, and the faults found while they were read."""

    def __init__(
        self, file: BinaryIO, defaults: RequestDefaults, tokenizer: Tokenizer | None, *, max_context: int | None
    ) -> None:
        self.errors: list[dict[str, Any]] = []
        self._file = file
        self._defaults = defaults
        self._tokenizer = tokenizer
        self._max_context = max_context
        self._lines: dict[str, int] = {}

    def __iter__(self) -> Iterator[Request]:
        """Good lines, until a line is faulty; from then on only faults are collected."""
        for number, raw in self._numbered_lines():
            try:
                request = parse_line(raw, line=number, defaults=self._defaults)
                self._check(request)
            except InvalidRequestLine as exc:
                self._report(exc.message, code=exc.code, param=exc.param, line=number)
            else:
                if not self.errors:
                    yield request
        if not self._lines and not self.errors:
            self._report(
                "The file has no requests: write one JSON object per line.", code="empty_file", param=None, line=None
            )

    def _numbered_lines(self) -> Iterator[tuple[int, bytes]]:
        """Non-blank lines, until there are MAX_ERRORS faults; of one that is too long, just enough is kept."""
        limit = self._defaults.max_line_bytes
        number = 0
        while len(self.errors) < MAX_ERRORS and (raw := self._file.readline(limit + 2)):
            number += 1
            line, size = raw, len(raw)
            while not raw.endswith(b"\n") and (raw := self._file.readline(1 << 20)):
                size += len(raw)
            if size > len(line):
                self._report_length(number, size)
            elif line.strip():
                yield number, line.strip()

    def _report_length(self, number: int, size: int) -> None:
        self._report(
            f"Line {number}: the line has {size} bytes and the limit is {self._defaults.max_line_bytes}: shorten the "
            "prompt or split it into several requests.",
            code="line_too_long",
            param=None,
            line=number,
        )

    def _check(self, request: Request) -> None:
        first = self._lines.setdefault(request.custom_id, request.line)
        if first != request.line:
            raise InvalidRequestLine(
                f"Line {request.line}: the custom_id '{request.custom_id[:80]}' is already used in line {first}: give "
                "every line its own.",
                line=request.line,
                param="custom_id",
                code="duplicate_custom_id",
            )
        if self._tokenizer is not None:
            try:
                check_context(request, self._tokenizer, self._max_context)
            except InvalidInput as exc:
                raise InvalidRequestLine(
                    f"Line {request.line}: {exc.message}", line=request.line, param="messages", code=exc.code
                ) from exc

    def _report(self, message: str, *, code: str | None, param: str | None, line: int | None) -> None:
        self.errors.append({"code": code or "invalid_request", "message": message, "param": param, "line": line})


def check_context(request: Request, tokenizer: Tokenizer, max_context: int | None) -> None:
    """Raises ContextExceeded when the prompt leaves no room for an answer, InvalidInput when it can't be rendered."""
    tokens = tokenizer.count_messages(request.body["messages"])
    context = min(tokenizer.context_tokens, max_context or tokenizer.context_tokens)
    if tokens >= context:
        raise ContextExceeded(
            f"the prompt has {tokens} tokens and the model's context is {context}, answer included: shorten it, or "
            "split the document.",
            code="context_length_exceeded",
        )


def validate(context: Context, batch_id: str) -> None:
    """Move a batch from `validating` to `in_progress` or `failed`; does nothing if that has happened already."""
    with context.database.transaction() as connection:
        batch = batches.find(connection, batch_id) if batches.claim(connection, batch_id) else None
        if batch is None or batch.status is not BatchStatus.VALIDATING:
            return
        errors, total, model = _store_requests(context, connection, batch)
        now = context.clock.now()
        if errors:
            batches.move(connection, batch_id, BatchStatus.FAILED, now, errors=errors)
            log.info("batch %s failed validation: %s", batch_id, errors[0]["message"])
            return
        if not _admit(context, connection, replace(batch, total=total, model=model)):
            connection.rollback()  # it was cancelled or expired meanwhile
            return
    ring_for_shards(context)


def _admit(context: Context, connection: Connection, batch: Batch) -> bool:
    """Cut shards, see to it that every workload has a mix, and plan; False if the batch cannot run any more."""
    now, model = context.clock.now(), batch.model or context.settings.home_model
    ranges = requests.ranges(connection, batch.id, context.settings.shard_size)
    # A plan may put them elsewhere; without any they still only run where they may.
    home = context.settings.all_zones[0]
    place = context.settings.place_of(zone_within(batch.zones, home, home))
    shards.add(connection, tenant=batch.tenant_id, batch_id=batch.id, ranges=ranges, now=now, place=place)
    shares = requests.composition(connection, batch.id)
    directives.ensure_mixes(context, connection, batch.tenant_id, model, {share.workload for share in shares})
    composition = [asdict(share) for share in shares]
    values = {"total": batch.total, "model": model, "composition": composition}
    if not batches.move(connection, batch.id, BatchStatus.IN_PROGRESS, now, **values):
        return False
    deferral.plan_open(context, connection)
    return True


def _store_requests(
    context: Context, connection: Connection, batch: Batch
) -> tuple[list[dict[str, Any]], int, str | None]:
    """Faults, or how many requests there are, and on which model they run."""
    settings = context.settings
    try:
        path = context.files.path(batch.input_file_id)
        first = _first_model(path, settings.max_line_bytes)
        defaults = request_defaults(context, batch.endpoint, batch.metadata, first)
    except NotFound as exc:
        return [{"code": "file_missing", "message": exc.message, "param": "input_file_id", "line": None}], 0, None
    except InvalidInput as exc:  # the settings have changed since the batch was accepted
        return [{"code": "invalid_metadata", "message": exc.message, "param": exc.param, "line": None}], 0, None
    model = model_of(settings, first)
    # Of another model it is not known here how it counts.
    tokenizer = context.tokenizer() if model == settings.served_name else None
    classes = discovery.newest(context, connection, batch.tenant_id, model)
    with path.open("rb") as file, connection.begin_nested() as savepoint:
        entries = InputFile(file, defaults, tokenizer, max_context=settings.max_context)
        named = discovery.named(entries, classes)
        total = requests.copy_in(connection, tenant=batch.tenant_id, batch_id=batch.id, entries=named)
        if entries.errors:
            savepoint.rollback()
    return entries.errors, total, model


def _first_model(path: Path, max_line_bytes: int) -> str | None:
    """The model that the first line names; it holds for all of them."""
    with path.open("rb") as file:
        for raw in iter(lambda: file.readline(max_line_bytes + 2), b""):
            if raw.strip():
                return named_model(raw.strip())
    return None
