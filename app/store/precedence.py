"""Which shard of a tenant goes before another one that was rung for."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, or_, select

from app.domain.shard import LOSSES_BEFORE_HALVING, URGENT, ShardState
from app.store.batches import may_run
from app.store.tables import batches, shards

in_turn = batches.c.priority.desc(), shards.c.first_line, shards.c.created_at, shards.c.batch_id
"""The order of what is not urgent, among the shards of one tenant."""


def more_important(connection: Connection, shard_id: str, *, place: str, model: str, now: datetime) -> str | None:
    """The shard that should run in the place of this one: the first of the most important batch of its tenant that
    waits, if that is more important; locked for this transaction.

    Messages stand in the order in which they were sent, and those of all tenants in one queue. So a more important
    batch overtakes within its tenant, when one of that tenant's shards is about to be leased. What a deadline depends
    on is not overtaken.
    """
    its, mine = batches.alias(), shards.alias()
    query = (
        select(shards.c.id)
        .join(batches, batches.c.id == shards.c.batch_id)
        .join(mine, mine.c.id == shard_id)
        .join(its, its.c.id == mine.c.batch_id)
        .where(
            may_run,
            batches.c.tenant_id == its.c.tenant_id,
            batches.c.priority > its.c.priority,
            batches.c.model == model,
            shards.c.state == ShardState.PENDING,
            shards.c.zone == place,
            shards.c.release_at <= now,
            # A suspect runs alone in its worker, which the message of another one does not see to.
            shards.c.losses < LOSSES_BEFORE_HALVING,
            or_(mine.c.start_by.is_(None), mine.c.start_by > now + URGENT),
        )
        .order_by(*in_turn)
        .limit(1)
        .with_for_update(of=shards, skip_locked=True)
    )
    return connection.execute(query).scalar()
