"""Checking a batch's input file line by line, storing its requests and cutting shards."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection

from app.domain.batch import BatchStatus, zone_within
from app.domain.errors import Conflict, InvalidInput, InvalidRequestLine, NotFound
from app.domain.shard import Cutter
from app.services import deferral, directives, discovery
from app.services.batches import model_of, request_defaults
from app.services.context import Context
from app.services.dispatch import ring_for_shards
from app.services.input_file import InputFile, first_model
from app.store import batches, requests, shards
from app.store.batches import Batch

log = logging.getLogger(__name__)

Faults = Sequence[Mapping[str, Any]]


class Stored(NamedTuple):
    """What came of a file without faults."""

    cutter: Cutter
    model: str
    """On which all its requests run."""


def validate(context: Context, batch_id: str) -> None:
    """Move a batch from `validating` to `in_progress` or `failed`; does nothing if that has happened already."""
    with context.database.transaction() as connection:
        batch = batches.find(connection, batch_id) if batches.claim(connection, batch_id) else None
        if batch is None or batch.status is not BatchStatus.VALIDATING:
            return
        stored = _store_requests(context, connection, batch)
        if not isinstance(stored, Stored):
            batches.move(connection, batch_id, BatchStatus.FAILED, context.clock.now(), errors=stored)
            # The message may cite the line.
            log.info("batch %s failed validation: %s, line %s", batch_id, stored[0]["code"], stored[0]["line"])
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
    values = {"total": cutter.requests, "model": stored.model, "composition": cutter.composition}
    if not batches.move(connection, batch.id, BatchStatus.IN_PROGRESS, now, **values):
        return False
    deferral.plan_open(context, connection)
    return True


def _store_requests(context: Context, connection: Connection, batch: Batch) -> Stored | Faults:
    settings = context.settings
    try:
        path = context.files.path(batch.input_file_id)
        named = first_model(path, settings.max_line_bytes)
        defaults = request_defaults(context, batch.endpoint, batch.metadata, named)
    except NotFound as exc:
        return [{"code": "file_missing", "message": exc.message, "param": "input_file_id", "line": None}]
    except InvalidInput as exc:  # the settings have changed since the batch was accepted
        return [{"code": "invalid_metadata", "message": exc.message, "param": exc.param, "line": None}]
    model = model_of(settings, named)
    # Of another model it is not known here how it counts.
    tokenizer = context.tokenizer() if model == settings.served_name else None
    classes = discovery.newest(context, connection, batch.tenant_id, model)
    with path.open("rb") as file:
        source = InputFile(file, defaults, tokenizer, max_context=settings.max_context)
        cutter = Cutter(settings.shard_size)
        try:
            with connection.begin_nested():
                entries = cutter.passing(discovery.named(source.requests(), classes))
                requests.copy_in(connection, tenant=batch.tenant_id, batch_id=batch.id, entries=entries)
        except (InvalidRequestLine, Conflict):
            faults = source.faults()
            if not faults:
                raise
            return faults
        return Stored(cutter, model) if cutter.requests else source.faults()
