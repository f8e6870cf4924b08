"""What the API refuses before it reads a body."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from app.api.access import MAX_BODY_BYTES, Guard
from app.services.context import Context
from tests.support.services import Desks


class Body:
    """A request's body in chunks, which counts how many were read."""

    def __init__(self, chunk: bytes, chunks: int) -> None:
        self._chunks: Iterator[bytes] = iter([chunk] * chunks)
        self.read = 0

    async def receive(self) -> Mapping[str, Any]:
        self.read += 1
        chunk = next(self._chunks, None)
        return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}


def call(context: Context, body: Body, path: str, headers: Mapping[str, str]) -> int:
    """The status that the guard answers with; 200 if the application behind it read the whole body."""
    statuses: list[int] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["more_body"]:
            pass
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    guard = Guard(application, context)
    pairs = [(name.encode(), value.encode()) for name, value in {"host": "127.0.0.1", **headers}.items()]
    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": pairs}
    asyncio.run(guard(scope, body.receive, send))
    return statuses[0]


def test_without_the_key_nothing_of_the_body_is_read(desks: Desks) -> None:
    body = Body(b"x" * 1000, 1000)
    assert call(desks.desk(api_key="right").context, body, "/v1/files", {"authorization": "Bearer wrong"}) == 401
    assert body.read == 0


@pytest.mark.parametrize(
    ("path", "limit"), [("/v1/batches", MAX_BODY_BYTES), ("/v1/files", MAX_BODY_BYTES + 5_000_000)]
)
def test_a_body_is_refused_as_soon_as_it_is_too_long(desks: Desks, path: str, limit: int) -> None:
    chunk = 100_000
    context = desks.desk(max_file_bytes=5_000_000).context
    fits = Body(b"x" * chunk, limit // chunk)
    assert call(context, fits, path, {}) == 200
    too_long = Body(b"x" * chunk, 1000)
    with pytest.raises(Exception, match="The body is longer than"):
        call(context, too_long, path, {})
    assert too_long.read == limit // chunk + 1
