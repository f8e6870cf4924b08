"""Requests: what the user sent, line by line."""

from __future__ import annotations

import json
import struct
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.errors import UniqueViolation
from sqlalchemy import ColumnElement, Connection, and_, exists, func, insert, literal, select

from app.domain.endpoints import GENERATING
from app.domain.errors import Conflict
from app.domain.request import Request
from app.store.bulk_copy import BulkCopy
from app.store.joins import joining_whole
from app.store.tables import batches, requests, results

_COLUMNS = ("batch_id", "line", "tenant_id", "custom_id", "workload", "pinned_level", "body")

_BINARY_START = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_BINARY_END = struct.pack("!h", -1)
_INT_BYTES = 4
_BLOCK_BYTES = 1 << 16
"""About as much as a socket holds."""

_field_count = _smallint = struct.Struct("!h").pack
_int = struct.Struct("!i").pack


@dataclass(frozen=True, kw_only=True)
class StoredRequest:
    line: int
    custom_id: str
    workload: str
    pinned_level: int | None
    body: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class AnsweredRequest:
    batch_id: str
    endpoint: str
    body: Mapping[str, Any]
    workload: str
    """The name of the mix under which it ran."""
    level: int
    energy_j: float
    drawn: bool
    """Whether the level was drawn from the mix, not pinned."""


def copy_in(connection: Connection, *, tenant: str, batch_id: str, entries: Iterable[Request]) -> int:
    """Stream requests into the table with COPY; returns how many.

    Raises:
        Conflict: a custom_id comes twice; the transaction can only be rolled back to a savepoint.
    """
    statement = f"COPY requests ({', '.join(_COLUMNS)}) FROM STDIN (FORMAT binary)"
    number = 0
    try:
        with BulkCopy(connection, statement, start=_BINARY_START, end=_BINARY_END) as copy:
            for rows, block in _blocks(entries, tenant, batch_id):
                copy.write(block)
                number += rows
    except UniqueViolation as exc:
        raise Conflict(f"A custom_id comes twice in batch '{batch_id}': give every line its own.") from exc
    return number


def _blocks(entries: Iterable[Request], tenant: str, batch_id: str) -> Iterator[tuple[int, bytes]]:
    """Rows in COPY's binary form (PostgreSQL manual, "COPY", File Formats): how many, and their bytes.

    A row is the number of its fields and then, for each, its length and content; a null has the length -1.
    """
    start = _field_count(len(_COLUMNS)) + _field(batch_id.encode()) + _int(_INT_BYTES)
    owner = _field(tenant.encode())
    kinds: dict[tuple[str, int | None], bytes] = {}
    parts: list[bytes] = []
    rows = size = 0
    for entry in entries:
        kind = kinds.get((entry.workload, entry.pinned_level))
        if kind is None:
            level = _int(-1) if entry.pinned_level is None else _field(_smallint(entry.pinned_level))
            kind = kinds[entry.workload, entry.pinned_level] = _field(entry.workload.encode()) + level
        body = entry.body_json or json.dumps(entry.body, ensure_ascii=False, separators=(",", ":")).encode()
        name = entry.custom_id.encode()
        parts += (start, _int(entry.line), owner, _int(len(name)), name, kind, _int(len(body)), body)
        rows += 1
        size += len(body)
        if size >= _BLOCK_BYTES:
            yield rows, b"".join(parts)
            parts.clear()
            rows = size = 0
    yield rows, b"".join(parts)


def _field(content: bytes) -> bytes:
    return _int(len(content)) + content


def unanswered(
    connection: Connection, batch_id: str, first_line: int, last_line: int, limit: int | None = None
) -> Sequence[StoredRequest]:
    """The first `limit` requests in [first_line, last_line] that have no result yet, in line order."""
    answered = exists().where(
        results.c.batch_id == requests.c.batch_id,
        results.c.line == requests.c.line,
        results.c.line.between(first_line, last_line),
    )
    query = (
        select(requests.c.line, requests.c.custom_id, requests.c.workload, requests.c.pinned_level, requests.c.body)
        .where(requests.c.batch_id == batch_id, requests.c.line.between(first_line, last_line), ~answered)
        .order_by(requests.c.line)
        .limit(limit)
    )
    with joining_whole(connection):
        found = connection.execute(query)
    # By place: every request that runs passes here, and rows as mappings take three times as long.
    return [
        StoredRequest(line=line, custom_id=custom_id, workload=workload, pinned_level=pinned_level, body=body)
        for line, custom_id, workload, pinned_level, body in found.all()
    ]


def count(connection: Connection, batch_id: str) -> int:
    """How many are stored."""
    return connection.execute(select(func.count()).where(requests.c.batch_id == batch_id)).scalar_one()


def copy_failed(connection: Connection, batch_id: str, to: str) -> None:
    """Copy the requests of a batch that have no good answer to another one, under their lines."""
    good = exists().where(
        results.c.batch_id == batch_id, results.c.line == requests.c.line, results.c.status_code == 200
    )
    cells = {**{name: requests.c[name] for name in _COLUMNS}, "batch_id": literal(to)}
    source = select(*cells.values()).where(requests.c.batch_id == batch_id, ~good)
    with joining_whole(connection):
        connection.execute(insert(requests).from_select(list(cells), source))


def lack_texts(connection: Connection, batch_id: str) -> bool:
    """Whether the text of any request of a batch is no longer kept."""
    gone = exists().where(requests.c.batch_id == batch_id, requests.c.body.is_(None))
    return bool(connection.execute(select(gone)).scalar_one())


def in_line_order(connection: Connection, batch_id: str) -> Generator[Request, None, None]:
    """Every request of a batch but for its body, streamed; close it when not all of them are taken."""
    names = ("line", "custom_id", "workload", "pinned_level")
    query = select(*(requests.c[name] for name in names)).where(requests.c.batch_id == batch_id)
    with connection.execute(query.order_by(requests.c.line).execution_options(yield_per=1000)) as found:
        for row in found.mappings():
            yield Request(body={}, **row)


def recently_answered(
    connection: Connection, tenant: str, model: str, limit: int
) -> Generator[AnsweredRequest, None, None]:
    """The newest `limit` requests whose answer is a text of their own, newest first, streamed; close it when not all of
    them are taken."""
    query = (
        select(
            requests.c.batch_id,
            batches.c.endpoint,
            requests.c.body,
            results.c.workload,
            results.c.level,
            results.c.energy_j,
            results.c.mix_id.is_not(None).label("drawn"),
        )
        .join(requests, and_(requests.c.batch_id == results.c.batch_id, requests.c.line == results.c.line))
        .join(batches, batches.c.id == results.c.batch_id)
        .where(*_answered(tenant, model))
        .order_by(results.c.finished_at.desc())
        .limit(limit)
        .execution_options(yield_per=200)
    )
    with connection.execute(query) as found:
        for row in found.mappings():
            yield AnsweredRequest(**row)


def count_answered(connection: Connection, tenant: str, model: str, limit: int) -> int:
    """How many requests have a text as their answer, and their prompt, counted up to `limit`."""
    found = (
        select(results.c.batch_id)
        .join(requests, and_(requests.c.batch_id == results.c.batch_id, requests.c.line == results.c.line))
        .join(batches, batches.c.id == results.c.batch_id)
    )
    some = found.where(*_answered(tenant, model)).limit(limit).subquery()
    return connection.execute(select(func.count()).select_from(some)).scalar_one()


def _answered(tenant: str, model: str) -> tuple[ColumnElement[bool], ...]:
    return (
        results.c.tenant_id == tenant,
        results.c.model == model,
        results.c.status_code == 200,
        ~results.c.cached,
        requests.c.body.is_not(None),
        batches.c.endpoint.in_(GENERATING),
    )
