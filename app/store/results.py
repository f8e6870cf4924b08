"""Results: one per request of a batch, first write wins. Their rows are the ledger."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import (
    ARRAY,
    JSON,
    Connection,
    Integer,
    Text,
    and_,
    any_,
    bindparam,
    cast,
    column,
    exists,
    func,
    literal,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.sql.dml import ReturningInsert

from app.store import recorded
from app.store.joins import joining_whole
from app.store.recorded import Place
from app.store.tables import requests, responses, results


@dataclass(frozen=True, kw_only=True)
class Result:
    batch_id: str
    line: int
    custom_id: str
    """Kept with the request."""
    tenant_id: str
    workload: str
    status_code: int | None
    """HTTP status a synchronous server would have answered; None when the request was never answered."""
    error_code: str | None
    model: str
    level: int
    probability: float
    """Of the level when it was drawn; 1 where it was pinned."""
    mix_id: str | None
    prompt_tokens: int
    completion_tokens: int
    energy_j: float
    device_s: float
    energy_basis: str
    zone: str
    intensity_g_per_kwh: float
    intensity_basis: str
    intensity_origin: str
    pue: float
    operational_g: float
    embodied_g: float
    finished_at: datetime
    body: Mapping[str, Any] | None
    """None once past its retention."""
    first_intensity_g_per_kwh: float | None = None
    first_operational_g: float | None = None
    """What it was priced with at first, where its hour's figure has changed since."""
    cached: bool = False
    """Whether an earlier answer was given again: it used nothing then."""


_COLUMNS = tuple(column.name for column in results.c)


def _recording() -> ReturningInsert[int]:
    # One JSON document in one statement: rows as parameters, or as a COPY into a temporary table, take longer.
    document = func.json_to_recordset(bindparam("rows", type_=JSON))
    fields = document.table_valued(*results.c, column("body", Text)).render_derived(with_types=True)
    new = select(fields).cte("new")
    written = (
        insert(results)
        .from_select(_COLUMNS, select(*(new.c[name] for name in _COLUMNS)))
        .on_conflict_do_nothing()
        .returning(results.c.batch_id, results.c.line)
        .cte("written")
    )
    columns = new.c.batch_id, new.c.line, new.c.tenant_id, cast(new.c.body, JSON)
    bodies = select(*columns).join(written, new.c.line == written.c.line)
    kept = insert(responses).from_select(["batch_id", "line", "tenant_id", "body"], bodies)
    return kept.returning(responses.c.line)


_RECORD = _recording()


def record(connection: Connection, rows: Sequence[Result]) -> frozenset[int]:
    """Write results that are not there yet; returns the lines that were written, which the end of the transaction is to
    say (`recorded.add`).

    All rows belong to one batch.
    """
    if not rows:
        return frozenset()
    # In line order: a shard and its copy write the same lines from both ends, and must not wait for each other.
    ordered = [_as_json(row) for row in sorted(rows, key=lambda row: row.line)]
    return frozenset(connection.execute(_RECORD, {"rows": ordered}).scalars())


def _as_json(row: Result) -> Mapping[str, Any]:
    # The body as a text of its own: read as part of the document, it could not hold a NUL.
    return {**vars(row), "body": msgspec.json.encode(row.body).decode()}


_UNANSWERED: Mapping[str, Any] = {
    "model": "",
    "level": 0,
    "probability": 1.0,
    "prompt_tokens": 0,
    "completion_tokens": 0,
    "energy_j": 0.0,
    "device_s": 0.0,
    "energy_basis": "modelled",
    "zone": "",
    "intensity_g_per_kwh": 0.0,
    "intensity_basis": "",
    "intensity_origin": "",
    "pue": 1.0,
    "operational_g": 0.0,
    "embodied_g": 0.0,
}
"""What a request used that was never answered."""


def fail_unanswered(
    connection: Connection,
    batch_id: str,
    *,
    code: str,
    message: str,
    now: datetime,
    lines: tuple[int, int] | None = None,
) -> int:
    """Give every request without a result, in `lines` (first and last) or in the whole batch, this error.

    Returns how many.
    """
    answered = exists().where(
        results.c.batch_id == requests.c.batch_id,
        results.c.line == requests.c.line,
        results.c.line.between(*lines) if lines else true(),
    )
    within = requests.c.line.between(*lines) if lines else true()
    constant = {**_UNANSWERED, "error_code": code, "finished_at": now}
    cells = {
        **{name: requests.c[name] for name in ("batch_id", "line", "tenant_id", "workload")},
        **{name: literal(value, results.c[name].type) for name, value in constant.items()},
    }
    source = select(*cells.values()).where(requests.c.batch_id == batch_id, within, ~answered)
    inserted = insert(results).from_select(list(cells), source.order_by(requests.c.line))
    errors = inserted.on_conflict_do_nothing().returning(results).cte("failed")
    bodies = select(
        errors.c.batch_id,
        errors.c.line,
        errors.c.tenant_id,
        literal({"code": code, "message": message}, responses.c.body.type),
    )
    statement = insert(responses).from_select(["batch_id", "line", "tenant_id", "body"], bodies)
    added = recorded.adding(batch_id, statement.returning(responses.c.tenant_id, responses.c.line).cte("written"))
    number = select(func.coalesce(func.sum(func.cardinality(added.c.lines), type_=Integer), 0))
    recorded.take_turn(connection, batch_id)
    with joining_whole(connection):
        return int(connection.execute(number).scalar_one())


_WHOLE = (
    select(requests.c.custom_id, results, responses.c.body)
    .join(requests, and_(requests.c.batch_id == results.c.batch_id, requests.c.line == results.c.line))
    .outerjoin(responses, and_(responses.c.batch_id == results.c.batch_id, responses.c.line == results.c.line))
)


def in_line_order(connection: Connection, batch_id: str) -> Generator[Result, None, None]:
    """Every result of a batch, streamed; close it when not all of them are taken."""
    query = _WHOLE.where(results.c.batch_id == batch_id).order_by(results.c.line).execution_options(yield_per=500)
    with joining_whole(connection):
        found = connection.execute(query)
    with found:
        # Whole batches pass here: a mapping for each row would take a quarter longer.
        names = tuple(found.keys())
        for row in found:
            yield Result(**dict(zip(names, row, strict=True)))


def recorded_after(connection: Connection, batch_id: str, after: Place, limit: int) -> Sequence[tuple[Place, Result]]:
    """The results behind that place, in the order in which they were recorded."""
    places = recorded.behind(connection, batch_id, after, limit)
    # Looked up one by one: for a join PostgreSQL would go through the whole batch (`app.store.joins`).
    custom_id, body = (
        select(column)
        .where(column.table.c.batch_id == results.c.batch_id, column.table.c.line == results.c.line)
        .scalar_subquery()
        for column in (requests.c.custom_id, responses.c.body)
    )
    lines = [place.line for place in places]
    query = select(results, custom_id.label("custom_id"), body.label("body")).where(
        results.c.batch_id == batch_id, results.c.line == any_(literal(lines, ARRAY(Integer)))
    )
    found = {row["line"]: Result(**row) for row in connection.execute(query).mappings()}
    return [(place, found[place.line]) for place in places if place.line in found]
