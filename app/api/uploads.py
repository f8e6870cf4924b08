"""A form with a file, passed on while it comes in: neither memory nor another file holds it meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta

import anyio.from_thread
from pydantic import ValidationError
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect, Request

from app.api.shapes import ExpiresAfter
from app.domain.errors import InvalidInput
from app.services.files import Described

PIECE_BYTES = 1 << 20
"""As much is taken from the connection at once."""
MAX_TEXT_BYTES = 1 << 16
"""Longest text field; none that is read has more than a few letters."""

TEXTS = frozenset({"purpose", "expires_after[anchor]", "expires_after[seconds]"})
"""Fields that are read; others are passed over."""


class FileForm:
    """The fields `file`, `purpose` and `expires_after` of a multipart/form-data body, in any order.

    For a worker thread of the event loop that `request` came from.

    Raises, while `chunks` is taken:
        InvalidInput: the body is no such form, has no file or several, or was broken off.
    """

    def __init__(self, request: Request) -> None:
        self._stream = request.stream()
        kind, options = parse_options_header(request.headers.get("content-type"))
        if kind != b"multipart/form-data" or b"boundary" not in options:
            raise InvalidInput("Send multipart/form-data with the fields purpose and file.", param="file")
        self._boundary = options[b"boundary"]
        self._filename: str | None = None
        self._texts: dict[str, bytearray] = {}
        self._waiting: list[bytes] = []
        self._header = b""
        self._disposition = b""
        self._value = b""
        self._target: bytearray | list[bytes] | None = None
        self._is_whole = False

    def chunks(self) -> Iterator[bytes]:
        """The file's content."""
        parser = self._parser()
        try:
            while piece := anyio.from_thread.run(self._piece):
                parser.write(piece)
                yield from self._waiting
                self._waiting.clear()
        except FormParserError as exc:
            raise InvalidInput(f"The form cannot be read ({exc}): send multipart/form-data.", param="file") from exc
        except ClientDisconnect as exc:
            raise InvalidInput("The upload was broken off: send it again.", param="file") from exc
        if not self._is_whole:
            raise InvalidInput("The form has no end: send it again, up to the closing boundary.", param="file")
        if self._filename is None:
            raise InvalidInput("The form has no file: send one, with a file name, in the field file.", param="file")

    def described(self) -> Described:
        """The other fields, once all chunks are taken. Raises InvalidInput: no purpose, or an unusable time."""
        texts = {name: _text(bytes(text)) for name, text in self._texts.items()}
        if "purpose" not in texts:
            raise InvalidInput("The form has no purpose: send the field purpose with the value batch.", param="purpose")
        purpose = texts.pop("purpose")
        return Described((self._filename or "batch.jsonl").replace("\0", ""), purpose, _expires_after(texts))

    async def _piece(self) -> bytes:
        parts, size = [], 0
        async for part in self._stream:
            parts.append(part)
            size += len(part)
            if size >= PIECE_BYTES:
                break
        return b"".join(parts)

    def _parser(self) -> MultipartParser:
        try:
            return MultipartParser(
                self._boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._header_field,
                    "on_header_value": self._header_value,
                    "on_header_end": self._header_end,
                    "on_headers_finished": self._open,
                    "on_part_data": self._data,
                    "on_end": self._end,
                },
            )
        except FormParserError as exc:
            raise InvalidInput(f"The form cannot be read: {exc}.", param="file") from exc

    def _begin(self) -> None:
        self._disposition = b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def _open(self) -> None:
        """Where the data of the part go whose headers have been read."""
        _, options = parse_options_header(self._disposition)
        name = _text(options.get(b"name", b""))
        self._target = None
        if name == "file" and b"filename" in options:
            if self._filename is not None:
                raise InvalidInput("The form has several files: send one at a time.", param="file")
            self._filename = _text(options[b"filename"])
            self._target = self._waiting
        elif name in TEXTS:
            self._target = self._texts.setdefault(name, bytearray())

    def _data(self, data: bytes, start: int, end: int) -> None:
        match self._target:
            case list() as chunks:
                chunks.append(data[start:end])
            case bytearray() as text if len(text) + end - start > MAX_TEXT_BYTES:
                raise InvalidInput(f"A field has more than {MAX_TEXT_BYTES} bytes of text.")
            case bytearray() as text:
                text += data[start:end]

    def _end(self) -> None:
        self._is_whole = True


def _expires_after(texts: Mapping[str, str]) -> timedelta | None:
    if not texts:
        return None
    try:
        return ExpiresAfter.model_validate({_inner(name): text for name, text in texts.items()}).duration
    except ValidationError as exc:
        fault = exc.errors()[0]
        name = f"expires_after.{fault['loc'][0]}"
        raise InvalidInput(f"Invalid value for '{name}': {fault['msg']}.", param=name) from exc


def _inner(name: str) -> str:
    return name.removeprefix("expires_after[").removesuffix("]")


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")
