"""Idempotency keys: a caller that does not know whether its batch was created may ask again without getting two."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection

from app.domain.errors import InvalidInput
from app.services.context import Context
from app.store import batches, idempotency
from app.store.batches import Batch
from app.store.idempotency import Once

HEADER = "Idempotency-Key"
LONGEST = 255


def once(key: str, body: Mapping[str, Any]) -> Once:
    """Raises InvalidInput for an unusable key."""
    if not (1 <= len(key) <= LONGEST and key.isascii() and key.isprintable()):
        raise InvalidInput(
            f"'{HEADER}' must have 1 to {LONGEST} printable ASCII characters, such as a random UUID.",
            param=HEADER,
            code="idempotency_error",
        )
    # However its fields are ordered.
    stated = json.dumps(body, sort_keys=True, ensure_ascii=False, default=str)
    return Once(key=key, body_sha256=sha256(stated.encode("utf-8", "surrogatepass")).hexdigest())


def earlier(connection: Connection, tenant: str, once: Once, now: datetime) -> Batch | None:
    """The batch that was created with this key; whoever uses the key at the same moment waits for this transaction.

    Raises:
        InvalidInput: something else was asked for with this key.
    """
    idempotency.take_turn(connection, tenant, once.key)
    done = idempotency.find(connection, tenant, once.key, now)
    if done is None:
        return None
    if done.body_sha256 != once.body_sha256:
        raise InvalidInput(
            f"This '{HEADER}' was used within a day for the batch '{done.batch_id}', which was asked for in other "
            "words: send the same body again, or another key.",
            param=HEADER,
            code="idempotency_error",
        )
    return batches.get(connection, tenant, done.batch_id)


def forget(context: Context) -> None:
    """Drop the keys that are older than a day."""
    with context.database.transaction() as connection:
        idempotency.forget(connection, context.clock.now())
