"""Answers that may be given again: where they stand, by a hash of what was asked."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, select
from sqlalchemy.dialects.postgresql import insert

from app.store.privacy import cached_answers
from app.store.tables import batches, responses, results


@dataclass(frozen=True, kw_only=True)
class KnownAnswer:
    body: Mapping[str, Any]
    prompt_tokens: int
    completion_tokens: int


def find(connection: Connection, tenant: str, keys: Collection[bytes]) -> Mapping[bytes, KnownAnswer]:
    """A tenant's own answers to these; those of a batch that is being erased are not given again."""
    of_entry = tuple(
        and_(table.c.batch_id == cached_answers.c.batch_id, table.c.line == cached_answers.c.line)
        for table in (results, responses)
    )
    query = (
        select(cached_answers.c.key, responses.c.body, results.c.prompt_tokens, results.c.completion_tokens)
        .join(results, of_entry[0])
        .join(responses, of_entry[1])
        .join(batches, batches.c.id == cached_answers.c.batch_id)
        .where(
            cached_answers.c.tenant_id == tenant,
            # The key holds the tenant too; should it ever not, nothing is given to another.
            responses.c.tenant_id == tenant,
            cached_answers.c.key.in_(keys),
            batches.c.erased_at.is_(None),
        )
    )
    return {
        row.key: KnownAnswer(body=row.body, prompt_tokens=row.prompt_tokens, completion_tokens=row.completion_tokens)
        for row in connection.execute(query)
    }


def put(connection: Connection, tenant: str, batch_id: str, lines: Mapping[int, bytes], now: datetime) -> None:
    """Let the answers in these lines be given again; where an answer is known already, that one."""
    rows = [
        {"tenant_id": tenant, "key": key, "batch_id": batch_id, "line": line, "created_at": now}
        for line, key in sorted(lines.items(), key=lambda item: item[1])
    ]
    if rows:
        connection.execute(insert(cached_answers).on_conflict_do_nothing(), rows)
