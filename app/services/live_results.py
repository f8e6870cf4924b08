"""Lines of output as they come, in the order in which they were recorded: first what validation rejected."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from app.domain.errors import InvalidInput
from app.services.context import Context
from app.services.finalization import line_bytes, output_line, rejected_line
from app.services.line_ledger import l0_profiles
from app.store import batches, rejections, results

PAGE = 200
"""Lines that are in memory at once."""


class Cursor(NamedTuple):
    """What was read up to."""

    position: int = 0
    """Of the last result; 0 before the first."""
    line: int = 0
    """Until then, the last line of the input that was rejected. All of these are known before anything runs."""


START = Cursor()


def parse_cursor(text: str) -> Cursor:
    """A line's `sprout.cursor`. Raises InvalidInput."""
    if match := re.fullmatch(r"0\.([0-9]{1,9})|([0-9]{1,9})", text):
        return Cursor(position=int(match[2] or 0), line=int(match[1] or 0))
    raise InvalidInput(f"{text[:80]!r} is no cursor: give the `sprout.cursor` of a line of this batch.", param="after")


@dataclass(frozen=True, kw_only=True)
class Page:
    lines: Sequence[bytes]
    """JSON, each with its line break."""
    cursor: Cursor
    """What was read up to with it."""
    is_last: bool
    """Whether the batch has ended and nothing follows."""


def page(context: Context, tenant: str, batch_id: str, *, after: Cursor, limit: int) -> Page:
    """Up to `limit` lines behind the cursor. Raises NotFound."""
    limit = min(limit, PAGE)
    with context.database.transaction() as connection:
        # Before anything is read: of a batch that has ended all lines are there.
        batch = batches.get(connection, tenant, batch_id)
        known = l0_profiles(connection, context.settings, batch)
        rejected = () if after.position else rejections.behind(connection, batch_id, after.line, limit)
        found = results.recorded_after(connection, batch_id, after.position, limit - len(rejected))
    if rejected:
        after = Cursor(line=rejected[-1].line)
    if found and found[-1].position:
        after = Cursor(position=found[-1].position)
    entries = [*(rejected_line(batch_id, line) for line in rejected), *(output_line(line, known) for line in found)]
    return Page(
        lines=[line_bytes(entry) for entry in entries],
        cursor=after,
        is_last=batch.status.is_final and len(entries) < limit,
    )
