"""Checking a batch's input file line by line: its requests are stored and cut into shards, the other lines rejected."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any, BinaryIO, NamedTuple

from sqlalchemy import Connection

from app.domain.batch import BatchStatus, zone_within
from app.domain.endpoints import ENDPOINTS
from app.domain.errors import Conflict, InvalidInput, LimitExceeded, NotFound
from app.domain.request import RequestDefaults
from app.domain.shard import Cutter
from app.services import capacity, deferral, deployment, directives, discovery, limits
from app.services.batches import knows_models, model_of, request_defaults
from app.services.context import Context
from app.services.dispatch import ring_for_shards
from app.services.input_file import InputFile
from app.store import batches, rejections, requests, shards
from app.store.batches import Batch

log = logging.getLogger(__name__)

MAX_ERRORS = 1000
"""Rejected lines that a batch shows among its errors; its error file has all of them."""

Faults = Sequence[Mapping[str, Any]]
"""`code`, `message`, `param` and `line` of each; the line is None where the whole file is at fault."""


class Stored(NamedTuple):
    """What came of a file that has requests."""

    cutter: Cutter
    model: str
    """On which all of them run."""
    rejected: int
    """Lines that are none."""
    faults: Faults
    """Of the first of those."""


def validate(context: Context, batch_id: str) -> None:
    """Move a batch from `validating` to `in_progress` or `failed`; does nothing if that has happened already."""
    with context.database.transaction() as connection:
        batch = batches.find(connection, batch_id) if batches.claim(connection, batch_id) else None
        if batch is None or batch.status is not BatchStatus.VALIDATING:
            return
        stored = _store_requests(context, connection, batch)
        if not isinstance(stored, Stored):
            batches.move(connection, batch_id, BatchStatus.FAILED, context.clock.now(), errors=stored)
            # Not the message: it may quote the line.
            log.info("batch %s failed validation: %s", batch_id, stored[0]["code"])
            return
        if not _admit(context, connection, batch, stored):
            connection.rollback()  # it was cancelled or expired meanwhile
            return
    ring_for_shards(context)


def _admit(context: Context, connection: Connection, batch: Batch, stored: Stored) -> bool:
    """Add the shards, see to it that every workload has a mix, and plan; False if the batch cannot run any more."""
    now, cutter = context.clock.now(), stored.cutter
    # A plan may put them elsewhere; without any they still only run where they may.
    home = context.settings.all_zones[0]
    place = context.settings.place_of(zone_within(batch.zones, home, home))
    shards.add(connection, tenant=batch.tenant_id, batch_id=batch.id, ranges=cutter.ranges, now=now, place=place)
    workloads = {share["workload"] for share in cutter.composition}
    directives.ensure_mixes(context, connection, batch.tenant_id, stored.model, workloads)
    values = {
        "total": cutter.requests + stored.rejected,
        "rejected": stored.rejected,
        "errors": stored.faults or None,
        "model": stored.model,
        "composition": cutter.composition,
    }
    if not batches.move(connection, batch.id, BatchStatus.IN_PROGRESS, now, **values):
        return False
    deferral.plan_open(context, connection)
    return True


def _store_requests(context: Context, connection: Connection, batch: Batch) -> Stored | Faults:
    try:
        defaults = request_defaults(context, batch.endpoint, batch.metadata)
        opened = context.files.open(batch.input_file_id)
    except NotFound as exc:
        return [_fault(exc.message, code="file_missing", param="input_file_id")]
    except InvalidInput as exc:  # the settings have changed since the batch was accepted
        return [_fault(exc.message, code="invalid_metadata", param=exc.param)]
    with opened as file:
        return _store_lines(context, connection, batch, file, defaults)


def _store_lines(
    context: Context, connection: Connection, batch: Batch, file: BinaryIO, defaults: RequestDefaults
) -> Stored | Faults:
    try:
        model, source = _source(context, connection, file, defaults)
        cutter = _copy_in(context, connection, batch, model, source)
    except InvalidInput as exc:  # of the whole file
        return [_fault(exc.message, code=exc.code, param=exc.param)]
    except LimitExceeded as exc:
        return [_fault(exc.message, code="request_limit_exceeded")]
    if not cutter.requests:
        shown = [each.fault for each in islice(source.rejections(), MAX_ERRORS)]
        return shown or [_fault("The file has no requests: write one JSON object per line.", code="empty_file")]
    rejected = source.rejected
    if not rejected:
        return Stored(cutter, model, 0, ())
    rejections.copy_in(connection, tenant=batch.tenant_id, batch_id=batch.id, entries=source.rejections())
    first = rejections.first(connection, batch.id, MAX_ERRORS)
    return Stored(cutter, model, rejected, [each.fault for each in first])


def _source(
    context: Context, connection: Connection, file: BinaryIO, defaults: RequestDefaults
) -> tuple[str, InputFile]:
    """The model on which the batch runs, and the input file with all that its lines are held against."""
    settings = context.settings
    opened = partial(InputFile, file, max_context=settings.max_context, max_requests=settings.max_requests)
    if knows_models(settings):
        known = capacity.known(connection, settings)
        defaults = replace(defaults, model=_first_model(opened(defaults, None), known), known_models=known)
    model = model_of(settings, defaults.model)
    deployment.check_endpoint(connection, model, defaults.endpoint)
    # Of another model it is not known here how it counts.
    tokenizer = context.tokenizer() if model == settings.served_name else None
    return model, opened(defaults, tokenizer)


def _first_model(source: InputFile, known: frozenset[str]) -> str | None:
    """The first that a line names which can be used otherwise and which a worker has served; else the first at all.

    So a line that is faulty, or names what nobody serves, does not have all others rejected.
    """
    first = None
    for request in source.requests():
        named = str(request.body["model"])
        if named in known:
            return named
        first = first or named
    return first


def _copy_in(context: Context, connection: Connection, batch: Batch, model: str, source: InputFile) -> Cutter:
    """Store the requests that can be used. Raises InvalidInput where the whole file cannot."""
    classes = discovery.newest(context, connection, batch.tenant_id, model)

    def attempt() -> Cutter:
        cutter = Cutter(context.settings.shard_size)
        with connection.begin_nested():
            entries = cutter.passing(discovery.named(source.requests(), classes, ENDPOINTS[batch.endpoint]))
            requests.copy_in(connection, tenant=batch.tenant_id, batch_id=batch.id, entries=entries)
            limits.admit(connection, batch.tenant_id, cutter.requests)
        return cutter

    try:
        return attempt()
    except Conflict:
        source.find_repeated()
        return attempt()


def _fault(message: str, *, code: str | None, param: str | None = None) -> Mapping[str, Any]:
    """What is wrong with the whole file, as `Rejection.fault` says it of one line."""
    return {"code": code, "message": message, "param": param, "line": None}
