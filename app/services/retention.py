"""One tick of forgetting: texts past their retention go, and what is being erased goes on being removed.

Every piece is a transaction of its own over a bounded number of rows: nothing is held up for long, and a tick that is
killed has lost nothing. What one tick leaves the next one takes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from itertools import islice

from sqlalchemy import Connection

from app.domain.errors import InvalidInput
from app.domain.retention import Kept
from app.services import erasure
from app.services.context import Context
from app.services.erasure import ROWS
from app.store import files, retention, tenants
from app.store.database import TENANT
from app.store.retention import Limits

log = logging.getLogger(__name__)

PIECES = 200
"""Of a tick: 200 000 rows, or a fraction of a minute."""

DROPS = (retention.drop_samples, retention.drop_replies, retention.drop_cached)


def forget(context: Context, *, pieces: int = PIECES) -> bool:
    """Whether nothing is left to do. Idempotent, and safe beside other ticks and beside workers."""
    limits = Limits(default_s=context.settings.kept_s, now=context.clock.now())
    return sum(1 for _ in islice(_pieces(context, limits), pieces)) < pieces


def _pieces(context: Context, limits: Limits) -> Iterator[None]:
    """Does the work, a piece between two steps."""
    yield from erasure.go_on(context)
    for kind in (Kept.PROMPTS, Kept.ANSWERS):
        yield from _lines(context, kind, limits)
    for drop in DROPS:
        dropped = ROWS
        while dropped == ROWS:
            with context.database.transaction() as connection:
                dropped = drop(connection, limits, ROWS)
            if dropped:
                yield
    yield from _files(context, limits)


def _lines(context: Context, kind: Kept, limits: Limits) -> Iterator[None]:
    while True:
        with context.database.transaction() as connection:
            found = retention.batches_past(connection, kind, limits, ROWS)
        if not found:
            return
        for batch_id in found:
            last: int | None = 0
            while last is not None:
                with context.database.transaction() as connection:
                    last = retention.drop_lines(connection, kind, batch_id, after=last, limit=ROWS)
                    if last is None:
                        retention.mark_gone(connection, kind, batch_id, limits.now)
                yield


def _files(context: Context, limits: Limits) -> Iterator[None]:
    removed = ROWS
    while removed:
        removed = 0
        with context.database.transaction() as connection:
            for file_id in retention.old_files(connection, limits, ROWS):
                try:
                    with connection.begin_nested():
                        if files.remove_unneeded(connection, file_id):
                            context.files.remove(file_id)
                            removed += 1
                except OSError:
                    # It must not keep the others; the next tick tries again.
                    log.exception("the old file %s cannot be removed", file_id)
        yield


def times(context: Context, tenant: str) -> Mapping[Kept, float | None]:
    """How long each kind is kept of a tenant, in seconds; None until it is erased. Raises NotFound."""
    with context.database.transaction() as connection:
        _check(connection, tenant)
        return {**context.settings.kept_s, **retention.own(connection, tenant)}


def set_time(context: Context, tenant: str, kind: Kept, keep_s: float | None) -> None:
    """Give a tenant a time of its own, in seconds; None: until it is erased. Raises InvalidInput, NotFound."""
    if keep_s is not None and not keep_s > 0:
        raise InvalidInput(f"{kind} cannot be kept for {keep_s:g} s: name a time above 0.", param=kind)
    with context.database.transaction() as connection:
        _check(connection, tenant)
        retention.put(connection, tenant, kind, keep_s)


def reset_time(context: Context, tenant: str, kind: Kept) -> None:
    """Let the settings hold for a tenant. Raises NotFound."""
    with context.database.transaction() as connection:
        _check(connection, tenant)
        retention.reset(connection, tenant, kind)


def _check(connection: Connection, tenant: str) -> None:
    """A misspelled name must not pass for a promise that is kept. The default tenant may have no row yet."""
    if tenant != TENANT:
        tenants.get(connection, tenant)
