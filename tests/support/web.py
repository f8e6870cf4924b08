"""A real HTTP server on loopback that answers as a test says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.support.loopback import LoopbackServer


@dataclass(frozen=True, kw_only=True)
class Asked:
    method: str
    path: str
    headers: Message
    body: bytes


@dataclass(frozen=True, kw_only=True)
class Answer:
    status: int = 200
    content: bytes = b"{}"
    announced: int | None = None
    """Content-Length, if it is to be a lie."""
    headers: Mapping[str, str] = field(default_factory=dict)


def as_json(value: Any, status: int = 200) -> Answer:
    return Answer(status=status, content=json.dumps(value).encode())


@contextmanager
def serving(answer: Callable[[Asked], Answer]) -> Iterator[str]:
    """The server's URL; every request is answered by `answer`."""

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            found = answer(Asked(method=self.command, path=self.path, headers=self.headers, body=body))
            self.send_response(found.status)
            self.send_header("Content-Length", str(len(found.content) if found.announced is None else found.announced))
            for name, value in found.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(found.content)

        do_GET = do_POST = do_DELETE = _serve  # noqa: N815  the names that http.server calls

        def log_message(self, *args: object) -> None:
            """Quiet."""

    with LoopbackServer(Handler) as server:
        yield server.address
