"""uvicorn's HTTP, with an end to what it takes before the application is asked."""

from __future__ import annotations

import json

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.domain.completion import error_body

MAX_HEAD_BYTES = 1 << 16
"""Request line and headers, beyond what the first read brings. `app.api.limits` is stricter with what has arrived."""


class BoundedProtocol(HttpToolsProtocol):
    """Answers 431 and hangs up where headers do not end: httptools alone would keep them all, of anybody."""

    _head_bytes: int | None = None
    """Of the headers that have not ended yet, less those of the read in which they began."""
    _read_bytes = 0

    def on_message_begin(self) -> None:
        self._head_bytes = -self._read_bytes
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head_bytes = None
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        self._read_bytes = len(data)
        super().data_received(data)
        if self._head_bytes is not None:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self._refuse()

    def _refuse(self) -> None:
        message = f"The headers have more than {MAX_HEAD_BYTES} bytes: send fewer, or shorter ones."
        body = json.dumps(error_body(message))
        head = (
            "HTTP/1.1 431 Request Header Fields Too Large",
            "content-type: application/json",
            f"content-length: {len(body)}",
            "connection: close",
        )
        self.transport.write("\r\n".join((*head, "", body)).encode())
        self.transport.close()
