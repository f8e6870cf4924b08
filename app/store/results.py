"""Results: one per (batch, custom_id), first write wins. Their rows are the ledger."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, exists, func, literal, select, true
from sqlalchemy.dialects.postgresql import insert

from app.store.tables import requests, responses, results


@dataclass(frozen=True, kw_only=True)
class Result:
    batch_id: str
    custom_id: str
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
    body: Mapping[str, Any]
    first_intensity_g_per_kwh: float | None = None
    first_operational_g: float | None = None
    """What it was priced with at first, where its hour's figure has changed since."""


def record(connection: Connection, rows: Sequence[Result]) -> frozenset[str]:
    """Write results that are not there yet; returns the custom_ids that were written.

    All rows belong to one batch.
    """
    if not rows:
        return frozenset()
    narrow = [{name: value for name, value in vars(row).items() if name != "body"} for row in rows]
    statement = insert(results).on_conflict_do_nothing().returning(results.c.custom_id)
    written = frozenset(connection.execute(statement, narrow).scalars())
    bodies = [
        {"batch_id": row.batch_id, "custom_id": row.custom_id, "tenant_id": row.tenant_id, "body": row.body}
        for row in rows
        if row.custom_id in written
    ]
    if bodies:
        connection.execute(insert(responses), bodies)
    return written


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
        and_(results.c.batch_id == requests.c.batch_id, results.c.custom_id == requests.c.custom_id)
    )
    within = requests.c.line.between(*lines) if lines else true()
    constant = {**_UNANSWERED, "error_code": code, "finished_at": now}
    source = select(
        requests.c.batch_id,
        requests.c.custom_id,
        requests.c.tenant_id,
        requests.c.workload,
        *(literal(value, results.c[name].type) for name, value in constant.items()),
    ).where(requests.c.batch_id == batch_id, within, ~answered)
    names = ["batch_id", "custom_id", "tenant_id", "workload", *constant]
    failed = insert(results).from_select(names, source).on_conflict_do_nothing().returning(results).cte("failed")
    bodies = select(
        failed.c.batch_id,
        failed.c.custom_id,
        failed.c.tenant_id,
        literal({"code": code, "message": message}, responses.c.body.type),
    )
    statement = insert(responses).from_select(["batch_id", "custom_id", "tenant_id", "body"], bodies)
    written = statement.returning(responses.c.custom_id).cte("written")
    return connection.execute(select(func.count()).select_from(written)).scalar_one()


def in_line_order(connection: Connection, batch_id: str) -> Generator[tuple[int, Result], None, None]:
    """Every result of a batch with its line number, streamed; close it when not all of them are taken."""
    query = (
        select(requests.c.line, results, responses.c.body)
        .join(requests, and_(requests.c.batch_id == results.c.batch_id, requests.c.custom_id == results.c.custom_id))
        .join(responses, and_(responses.c.batch_id == results.c.batch_id, responses.c.custom_id == results.c.custom_id))
        .where(results.c.batch_id == batch_id)
        .order_by(requests.c.line)
        .execution_options(yield_per=500)
    )
    with connection.execute(query) as found:
        for row in found.mappings():
            values = dict(row)
            yield values.pop("line"), Result(**values)


def finished_since(connection: Connection, batch_id: str, since: datetime, limit: int) -> Sequence[Result]:
    """Results that finished at or after `since`, oldest first."""
    query = (
        select(results, responses.c.body)
        .join(responses, and_(responses.c.batch_id == results.c.batch_id, responses.c.custom_id == results.c.custom_id))
        .where(results.c.batch_id == batch_id, results.c.finished_at >= since)
        .order_by(results.c.finished_at)
        .limit(limit)
    )
    return [Result(**row) for row in connection.execute(query).mappings()]
