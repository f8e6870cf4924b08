"""On a real uvicorn: what it takes before the application is asked."""

from __future__ import annotations

import json
import select
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
import uvicorn

from app.api.protocol import MAX_HEAD_BYTES, BoundedProtocol
from tests.support.waiting import eventually


async def size_of_body(scope: Any, receive: Any, send: Any) -> None:
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(size).encode()})


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(size_of_body, http=BoundedProtocol, lifespan="off", log_level="critical")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    eventually(lambda: server.started)
    yield listening.getsockname()[1]
    server.should_exit = True
    thread.join()


def answer_to(port: int, pieces: Iterable[bytes]) -> bytes:
    """Sends until it is answered; empty if the answer was lost because something was sent after it."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection, suppress(ConnectionError):
        for piece in pieces:
            connection.sendall(piece)
            if select.select([connection], [], [], 0.005)[0]:
                break
        while received := connection.recv(65536):
            answer += received
    return answer


@pytest.mark.parametrize("piece", [b"x-more: " + b"v" * 1000 + b"\r\n", b"v" * 1000], ids=["many", "one"])
def test_headers_that_do_not_end(port: int, piece: bytes) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        yield b"POST / HTTP/1.1\r\nhost: x\r\nx-first: "
        while True:
            sent += len(piece)
            yield piece

    answers = (answer_to(port, endless()) for _ in range(5))
    head, _, body = next(answer for answer in answers if answer).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 431 ")
    assert json.loads(body)["error"]["type"] == "invalid_request_error"
    assert sent < 5_000_000


def test_long_bodies_and_many_requests_of_one_connection(port: int) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        for size in (0, 10, 5_000_000, MAX_HEAD_BYTES + 1, 0):
            assert client.post("/", content=b"x" * size, headers={"x": "v" * 30_000}).text == str(size)


def test_requests_that_come_at_once(port: int) -> None:
    """The end of a long body and the beginning of the next request's headers may come in one read."""
    size = 400_000
    one = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % size + b"b" * size
    last = one.replace(b"host", b"connection: close\r\nhost")
    answer = answer_to(port, [one * 3 + last])
    assert answer.count(b"HTTP/1.1 200 OK") == 4
