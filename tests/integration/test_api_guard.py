"""What the API refuses before it reads a body."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import httpx
import pytest

from app.api.access import Guard
from app.api.limits import MAX_ADDRESS_BYTES, MAX_BODY_BYTES, MAX_HEADER_BYTES, depth
from app.domain.request import MAX_DEPTH
from app.services.context import Context
from tests.support.api import Api, error_of
from tests.support.services import Desk, Desks


class Body:
    """A request's body in chunks, which counts how many were read."""

    def __init__(self, chunk: bytes, chunks: int) -> None:
        self._chunks: Iterator[bytes] = iter([chunk] * chunks)
        self.read = 0

    async def receive(self) -> Mapping[str, Any]:
        self.read += 1
        chunk = next(self._chunks, None)
        return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}


class Pieces(httpx.AsyncByteStream):
    """A body that does not say how long it is."""

    def __init__(self, piece: bytes, times: int) -> None:
        self._piece = piece
        self._times = times

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(self._times):
            yield self._piece


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


def test_a_body_that_says_it_is_too_long_is_not_read(desks: Desks) -> None:
    context = desks.desk(max_file_bytes=5_000_000).context
    for path, limit in (("/v1/batches", MAX_BODY_BYTES), ("/v1/files", MAX_BODY_BYTES + 5_000_000)):
        for length, status in ((limit, 200), (limit + 1, 413), (10**30, 413)):
            body = Body(b"x", 1)
            assert call(context, body, path, {"content-length": str(length)}) == status
            assert body.read == (2 if status == 200 else 0)


def test_too_many_headers(desk: Desk) -> None:
    fits = {f"x-{number:04}": "v" * 94 for number in range(MAX_HEADER_BYTES // 100 - 1)}
    assert call(desk.context, Body(b"x", 1), "/v1/batches", fits) == 200
    assert call(desk.context, Body(b"x", 1), "/v1/batches", {**fits, "cookie": "c" * 200}) == 431
    assert call(desk.context, Body(b"x", 1), "/v1/batches", {"x": "v" * MAX_HEADER_BYTES}) == 431


def test_a_refusal_of_size_has_the_form_of_all(api: Api) -> None:
    cases = (
        (413, api("POST", "/v1/batches", content=b"{" + b" " * MAX_BODY_BYTES)),
        (413, api("POST", "/v1/batches", content=Pieces(b" " * 1000, MAX_BODY_BYTES // 1000 + 1))),
        (414, api("GET", f"/v1/batches?after={'b' * MAX_ADDRESS_BYTES}")),
        (431, api("GET", "/v1/batches", headers={"x": "v" * MAX_HEADER_BYTES})),
    )
    for status, response in cases:
        assert "bytes" in error_of(response, status)["message"]


def test_a_deep_body(api: Api) -> None:
    def sent(value: str) -> httpx.Response:
        content = f'{{"input_file_id": "f", "endpoint": "e", "completion_window": "5m", "more": {value}}}'
        return api("POST", "/v1/batches", content=content, headers={"Content-Type": "application/json"})

    def nested(levels: int) -> str:
        return '{"[": [' * (levels // 2) + "]}" * (levels // 2)

    for value in (nested(MAX_DEPTH - 2), json.dumps("[" * 10_000), json.dumps('\\"' + "{" * 10_000)):
        assert error_of(sent(value), 400)["param"] is not None
    for value in (nested(MAX_DEPTH), nested(100_000), "[" * 100_000, '{"a":' * 100_000):
        assert "nested more than 100 levels deep" in error_of(sent(value), 400)["message"]
    many = "[" + ",".join(["[]"] * 300_000) + "]"
    assert error_of(sent(many), 400)["param"] is not None


@pytest.mark.parametrize(
    ("text", "levels"),
    [
        ("[" * 150 + "]" * 150, 150),
        ("[]" * 150, 1),
        ('"' + "[" * 150 + '"', 0),
        ('"' + "[" * 150, 0),
        ('"\\"' + "[" * 150, 0),
        ('"\\\\"' + "[" * 150, 150),
        ("]" * 150 + "[" * 200, 50),
        ("[" * 100, 0),
    ],
    ids=range(8),
)
def test_how_deep_a_text_is(text: str, levels: int) -> None:
    assert depth(text.encode()) == levels
