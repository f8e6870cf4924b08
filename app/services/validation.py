"""Checking a batch's input file line by line, storing its requests and cutting shards."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from app.domain.batch import BatchStatus, zone_within
from app.domain.errors import Conflict, InvalidInput, InvalidRequestLine, NotFound
from app.domain.shard import Tally
from app.services import deferral, directives, discovery
from app.services.batches import request_defaults
from app.services.context import Context
from app.services.dispatch import ring_for_shards
from app.services.input_file import InputFile
from app.store import batches, requests, shards
from app.store.batches import Batch

log = logging.getLogger(__name__)


def validate(context: Context, batch_id: str) -> None:
    """Move a batch from `validating` to `in_progress` or `failed`; does nothing if that has happened already."""
    with context.database.transaction() as connection:
        batch = batches.find(connection, batch_id) if batches.claim(connection, batch_id) else None
        if batch is None or batch.status is not BatchStatus.VALIDATING:
            return
        stored = _store_requests(context, connection, batch)
        if not isinstance(stored, Tally):
            batches.move(connection, batch_id, BatchStatus.FAILED, context.clock.now(), errors=stored)
            log.info("batch %s failed validation: %s", batch_id, stored[0]["message"])
            return
        if not _admit(context, connection, batch, stored):
            connection.rollback()  # it was cancelled or expired meanwhile
            return
    ring_for_shards(context)


def _admit(context: Context, connection: Connection, batch: Batch, stored: Tally) -> bool:
    """Cut shards, see to it that every workload has a mix, and plan; False if the batch cannot run any more."""
    now = context.clock.now()
    # A plan may put them elsewhere; without any they still only run where they may.
    home = context.settings.all_zones[0]
    place = context.settings.place_of(zone_within(batch.zones, home, home))
    shards.add(connection, tenant=batch.tenant_id, batch_id=batch.id, ranges=stored.ranges, now=now, place=place)
    composition = stored.composition
    directives.ensure_mixes(context, connection, batch.tenant_id, {share["workload"] for share in composition})
    values = {"total": stored.requests, "composition": composition}
    if not batches.move(connection, batch.id, BatchStatus.IN_PROGRESS, now, **values):
        return False
    deferral.plan_open(context, connection)
    return True


def _store_requests(context: Context, connection: Connection, batch: Batch) -> Tally | Sequence[Mapping[str, Any]]:
    """What was stored, or the file's faults."""
    try:
        path = context.files.path(batch.input_file_id)
        defaults = request_defaults(context, batch.endpoint, batch.metadata)
    except NotFound as exc:
        return [{"code": "file_missing", "message": exc.message, "param": "input_file_id", "line": None}]
    except InvalidInput as exc:  # the settings have changed since the batch was accepted
        return [{"code": "invalid_metadata", "message": exc.message, "param": exc.param, "line": None}]
    model = discovery.newest(context, connection, batch.tenant_id)
    with path.open("rb") as file:
        source = InputFile(file, defaults, context.tokenizer(), max_context=context.settings.max_context)
        tally = Tally(context.settings.shard_size)
        try:
            with connection.begin_nested():
                entries = tally.passing(discovery.named(source.requests(), model))
                requests.copy_in(connection, tenant=batch.tenant_id, batch_id=batch.id, entries=entries)
        except (InvalidRequestLine, Conflict):
            faults = source.faults()
            if not faults:
                raise
            return faults
        return tally if tally.requests else source.faults()
