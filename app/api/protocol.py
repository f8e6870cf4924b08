"""uvicorn's HTTP, with an end to what it takes before the application is asked."""

from __future__ import annotations

import json

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.domain.completion import error_body

MAX_HEAD_BYTES = 1 << 17
"""Request line and headers. More is read from the connection before they are known to be too long, but no more is kept
than a read of the socket gives; `app.api.limits` has narrower limits for those that arrived."""


class BoundedProtocol(HttpToolsProtocol):
    """Answers 431 and hangs up where headers do not end: httptools itself would keep them all."""

    _head_bytes: int | None = 0
    """Of the request whose headers have not ended yet; None while a body comes."""

    def on_message_begin(self) -> None:
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head_bytes = None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._head_bytes = 0
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._head_bytes is None or self.transport.is_closing():
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse()

    def _refuse(self) -> None:
        message = f"The headers have more than {MAX_HEAD_BYTES} bytes: send fewer, or shorter ones."
        body = json.dumps(error_body(message)).encode()
        head = (
            "HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
