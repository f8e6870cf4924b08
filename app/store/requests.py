"""Requests: what the user sent, line by line."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, exists, func, select

from app.domain.request import Request
from app.domain.shard import Lines
from app.store.tables import requests, results

_COLUMNS = ("batch_id", "line", "tenant_id", "custom_id", "workload", "pinned_level", "body")


@dataclass(frozen=True, kw_only=True)
class StoredRequest:
    line: int
    custom_id: str
    workload: str
    pinned_level: int | None
    body: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Share:
    """Requests that are alike for planning."""

    workload: str
    pinned_level: int | None
    requests: int


@dataclass(frozen=True, kw_only=True)
class AnsweredRequest:
    body: Mapping[str, Any]
    workload: str
    """The name of the mix under which it ran."""
    level: int
    energy_j: float
    drawn: bool
    """Whether the level was drawn from the mix, not pinned."""


def copy_in(connection: Connection, *, tenant: str, batch_id: str, entries: Iterable[Request]) -> int:
    """Stream requests into the table with COPY; returns how many."""
    number = 0
    driver: Any = connection.connection
    with (
        driver.cursor() as cursor,
        cursor.copy(f"COPY requests ({', '.join(_COLUMNS)}) FROM STDIN") as copy,
    ):
        for entry in entries:
            body = json.dumps(entry.body, ensure_ascii=False, separators=(",", ":"))
            copy.write_row((batch_id, entry.line, tenant, entry.custom_id, entry.workload, entry.pinned_level, body))
            number += 1
    return number


def unanswered(
    connection: Connection, batch_id: str, first_line: int, last_line: int, limit: int | None = None
) -> Sequence[StoredRequest]:
    """The first `limit` requests in [first_line, last_line] that have no result yet, in line order."""
    answered = exists().where(and_(results.c.batch_id == requests.c.batch_id, results.c.line == requests.c.line))
    query = (
        select(requests.c.line, requests.c.custom_id, requests.c.workload, requests.c.pinned_level, requests.c.body)
        .where(requests.c.batch_id == batch_id, requests.c.line.between(first_line, last_line), ~answered)
        .order_by(requests.c.line)
        .limit(limit)
    )
    return [StoredRequest(**row) for row in connection.execute(query).mappings()]


def recently_answered(
    connection: Connection, tenant: str, model: str, limit: int
) -> Generator[AnsweredRequest, None, None]:
    """The newest `limit` requests with an answer, newest first, streamed; close it when not all of them are taken."""
    query = (
        select(
            requests.c.body,
            results.c.workload,
            results.c.level,
            results.c.energy_j,
            results.c.mix_id.is_not(None).label("drawn"),
        )
        .join(requests, and_(requests.c.batch_id == results.c.batch_id, requests.c.line == results.c.line))
        .where(results.c.tenant_id == tenant, results.c.model == model, results.c.status_code == 200)
        .order_by(results.c.finished_at.desc())
        .limit(limit)
        .execution_options(yield_per=200)
    )
    with connection.execute(query) as found:
        for row in found.mappings():
            yield AnsweredRequest(**row)


def count_answered(connection: Connection, tenant: str, model: str, limit: int) -> int:
    """How many requests have an answer, counted up to `limit`."""
    found = select(results.c.batch_id).where(
        results.c.tenant_id == tenant, results.c.model == model, results.c.status_code == 200
    )
    return connection.execute(select(func.count()).select_from(found.limit(limit).subquery())).scalar_one()


def composition(connection: Connection, batch_id: str) -> Sequence[Share]:
    """How many requests of a batch there are of each workload and pinned level."""
    key = requests.c.workload, requests.c.pinned_level
    query = (
        select(*key, func.count().label("requests"))
        .where(requests.c.batch_id == batch_id)
        .group_by(*key)
        .order_by(*key)
    )
    return [Share(**row) for row in connection.execute(query).mappings()]


def ranges(connection: Connection, batch_id: str, size: int) -> Sequence[Lines]:
    """Consecutive groups of `size` requests; line numbers may have gaps (blank lines)."""
    position = func.row_number().over(order_by=requests.c.line) - 1
    numbered = select(requests.c.line, position.label("position")).where(requests.c.batch_id == batch_id).subquery()
    group = numbered.c.position.op("/")(size)
    query = select(func.min(numbered.c.line), func.max(numbered.c.line), func.count()).group_by(group).order_by(group)
    return [Lines(*row) for row in connection.execute(query)]
