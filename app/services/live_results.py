"""Lines of output as they come, in the order in which they were recorded: first what validation rejected."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.errors import InvalidInput
from app.services.context import Context
from app.services.finalization import line_bytes, output_line, rejected_line
from app.services.line_ledger import l0_profiles
from app.store import batches, rejections, results
from app.store.recorded import Place

PAGE = 200
"""Lines that are in memory at once."""


START = Place()
"""What validation rejected is known before anything runs: it is the group before the first."""


def parse_cursor(text: str) -> Place:
    """A line's `sprout.cursor`, or `0`. Raises InvalidInput."""
    if match := re.fullmatch(r"([0-9]{1,9})\.([0-9]{1,9})|0", text):
        return Place(int(match[1] or 0), int(match[2] or 0))
    raise InvalidInput(f"{text[:80]!r} is no cursor: give the `sprout.cursor` of a line of this batch.", param="after")


@dataclass(frozen=True, kw_only=True)
class Page:
    lines: Sequence[bytes]
    """JSON, each with its line break."""
    cursor: Place
    """What was read up to with it."""
    is_last: bool
    """Whether the batch has ended and nothing follows."""


def page(context: Context, tenant: str, batch_id: str, *, after: Place, limit: int) -> Page:
    """Up to `limit` lines behind the cursor. Raises NotFound."""
    limit = min(limit, PAGE)
    with context.database.transaction() as connection:
        # Before anything is read: of a batch that has ended all lines are there.
        batch = batches.get(connection, tenant, batch_id)
        known = l0_profiles(connection, context.settings, batch)
        rejected = () if after.group else rejections.behind(connection, batch_id, after.line, limit)
        found = results.recorded_after(connection, batch_id, after, limit - len(rejected))
    entries = [(Place(line=line.line), rejected_line(batch_id, line)) for line in rejected]
    entries += [(place, output_line(result, known)) for place, result in found]
    return Page(
        lines=[line_bytes(_at(place, entry)) for place, entry in entries],
        cursor=entries[-1][0] if entries else after,
        is_last=batch.status.is_final and len(entries) < limit,
    )


def _at(place: Place, entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """A line of a file with its cursor."""
    return {**entry, "sprout": {"cursor": f"{place.group}.{place.line}", **entry["sprout"]}}
