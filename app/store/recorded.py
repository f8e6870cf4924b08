"""The order in which results were recorded: group by group, as they were committed, and within a group by line.

So whoever has read up to a place misses nothing. A sequence would not do: its numbers become visible in the order of
commits, and a reader that has seen n would miss n-1, committed later. A group has its number under a lock of the batch
that is held until the end of the transaction: whoever has it sees all earlier ones. It is taken when all else is
written, so that writers of one batch take turns for no more than a row and a commit. To give out only what is older
than the oldest running transaction would need no lock, but would hold every reader up for as long as any validation
takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import CTE, ColumnElement, Connection, Integer, Text, bindparam, func, insert, literal, select
from sqlalchemy.dialects.postgresql import ARRAY

from app.store.tables import recorded_groups as groups

LARGEST = 1000
"""Lines in a group: a reader takes whole ones."""
AT_ONCE = 20
"""Groups that are looked into at once."""


class Place(NamedTuple):
    """In the order of a batch."""

    group: int = 0
    """From 1."""
    line: int = 0


_TAKE_TURN = select(func.pg_advisory_xact_lock(func.hashtextextended(bindparam("key", type_=Text), 0)))


def take_turn(connection: Connection, batch_id: str) -> None:
    """Wait until nobody else numbers groups of this batch; nobody else will before this transaction ends.

    A statement of its own: what gives numbers must see what was committed until now.
    """
    connection.execute(_TAKE_TURN, {"key": f"sprout.recorded.{batch_id}"})


def _next(batch: ColumnElement[str]) -> ColumnElement[int]:
    last = select(func.max(groups.c.number)).where(groups.c.batch_id == batch).scalar_subquery()
    return func.coalesce(last, 0) + 1


_ADD = insert(groups).values(number=_next(bindparam("batch")))


def add(connection: Connection, *, tenant: str, batch_id: str, lines: Sequence[int]) -> None:
    """Say that these results are written. Last in a transaction: the batch's other writers wait for its end."""
    if lines:
        take_turn(connection, batch_id)
        cells = {"batch_id": batch_id, "tenant_id": tenant, "lines": sorted(lines)}
        connection.execute(_ADD, {"batch": batch_id, **cells})


def adding(batch_id: str, written: CTE) -> CTE:
    """The same of a statement's rows, `tenant_id` and `line`, by who has its turn; gives `lines` of each new group."""
    place = func.row_number().over(order_by=written.c.line) - 1
    numbered = select(written, (place // LARGEST).label("part")).subquery()
    source = select(
        literal(batch_id),
        _next(literal(batch_id)) + numbered.c.part,
        func.min(numbered.c.tenant_id),
        func.array_agg(numbered.c.line, type_=ARRAY(Integer)),
    ).group_by(numbered.c.part)
    names = ["batch_id", "number", "tenant_id", "lines"]
    return insert(groups).from_select(names, source).returning(groups.c.lines).cte("added")


def behind(connection: Connection, batch_id: str, after: Place, limit: int) -> Sequence[Place]:
    """The first `limit` places of a batch behind that one."""
    found: list[Place] = []
    number = after.group
    while len(found) < limit:
        query = select(groups.c.number, groups.c.lines).where(groups.c.batch_id == batch_id, groups.c.number >= number)
        rows = connection.execute(query.order_by(groups.c.number).limit(AT_ONCE)).all()
        found += [place for group, lines in rows for line in sorted(lines) if (place := Place(group, line)) > after]
        if len(rows) < AT_ONCE:
            break
        number = rows[-1].number + 1
    return found[:limit]
