"""Results of a batch as they come, in the order in which they were recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.services.context import Context
from app.services.finalization import line_bytes
from app.services.line_ledger import l0_profiles
from app.store import batches, results

PAGE = 200
"""Lines that are in memory at once."""


@dataclass(frozen=True, kw_only=True)
class Page:
    lines: Sequence[bytes]
    """JSON, each with its line break."""
    position: int
    """Of the last of them: what was read up to."""
    is_last: bool
    """Whether the batch has ended and nothing follows."""


def page(context: Context, tenant: str, batch_id: str, *, after: int, limit: int) -> Page:
    """Up to `limit` lines behind that position. Raises NotFound."""
    limit = min(limit, PAGE)
    with context.database.transaction() as connection:
        # Before its results are read: of a batch that has ended all are there.
        batch = batches.get(connection, tenant, batch_id)
        known = l0_profiles(connection, context.settings, batch)
        found = results.recorded_after(connection, batch_id, after, limit)
    position = found[-1].position if found else None
    return Page(
        lines=[line_bytes(result, known) for result in found],
        position=after if position is None else position,
        is_last=batch.status.is_final and len(found) < limit,
    )
