"""Giving answers again to the same deterministic requests of a tenant, for batches that ask for it.

A shard is looked up once, when it is leased. The same request twice in flight runs twice: to wait for the other would
hold up a place in the engine, for an answer that may never come.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection

from app.domain.cache import cache_key
from app.domain.completion import Completion
from app.services import deployment
from app.services.context import Context
from app.services.leasing import Known, LeasedShard, engine_request
from app.store import answer_cache
from app.store.results import Result


def looked_up(context: Context, shard: LeasedShard) -> LeasedShard:
    """The shard with what is known of its answers."""
    if not shard.lease.is_cached:
        return shard
    settings, of = context.settings, shard.lease.shard
    with context.database.transaction() as connection:
        fingerprint = deployment.fingerprints(connection, settings, settings.served_name)
        keys = {}
        for name, drawn in shard.drawn.items():
            key = cache_key(
                engine_request(settings, shard, name),
                tenant=of.tenant_id,
                model=settings.served_name,
                fingerprint=fingerprint(drawn.request.workload),
                level=drawn.level,
            )
            if key is not None:
                keys[name] = key
        found = answer_cache.find(connection, of.tenant_id, set(keys.values()))
    answers = {
        name: Completion(key=name, status_code=200, **vars(found[key])) for name, key in keys.items() if key in found
    }
    return replace(shard, known=Known(keys=keys, answers=answers))


def remember(connection: Connection, shard: LeasedShard, rows: Sequence[Result]) -> None:
    """Let the answers in `rows`, which were just recorded, be given again."""
    keys = shard.known.keys
    by_line = {drawn.request.line: keys[name] for name, drawn in shard.drawn.items() if name in keys}
    new = [row for row in rows if row.line in by_line and row.status_code == 200 and not row.cached]
    if new:
        of = shard.lease.shard
        lines = {row.line: by_line[row.line] for row in new}
        answer_cache.put(connection, of.tenant_id, of.batch_id, lines, new[0].finished_at)
