"""A batch's input file: read once to store its requests, and again only to name what is wrong with it."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec
import numpy as np

from app.domain.endpoints import ENDPOINTS, Endpoint, Prompt
from app.domain.errors import ContextExceeded, InvalidInput, InvalidRequestLine
from app.domain.request import MAX_DEPTH, Request, RequestDefaults, check_entry, depth, named_model, parse_line
from app.ports import Tokenizer

MAX_ERRORS = 100
"""Faulty lines that a failed batch reports; the file is read no further."""


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    custom_id: str
    method: str
    url: str
    body: msgspec.Raw


_ENVELOPE = msgspec.json.Decoder(_Envelope)
_JSON = msgspec.json.Decoder()


class _Line(NamedTuple):
    number: int
    text: bytes
    """Without white space around it; of a line that is too long, its beginning."""
    size: int
    """Bytes, if they are too many; otherwise 0."""


def first_model(path: Path, max_line_bytes: int) -> str | None:
    """The model that the first line names; it holds for all of them."""
    with path.open("rb") as file:
        for raw in iter(lambda: file.readline(max_line_bytes + 2), b""):
            if raw.strip():
                return named_model(raw.strip())
    return None


class InputFile:
    """The requests of an input file, and its faults."""

    def __init__(
        self, file: BinaryIO, defaults: RequestDefaults, tokenizer: Tokenizer | None, *, max_context: int | None
    ) -> None:
        self._file = file
        self._defaults = defaults
        self._endpoint = ENDPOINTS[defaults.endpoint]
        self._tokenizer = tokenizer
        self._max_context = max_context

    def requests(self) -> Iterator[Request]:
        """Every request in line order; whether a custom_id comes twice is not looked at.

        Raises:
            InvalidRequestLine: at the first line that cannot be used.
        """
        for line in self._lines():
            request = self._read(line)
            self._check_context(request)
            yield request

    def faults(self) -> Sequence[Mapping[str, Any]]:
        """What is wrong with the first MAX_ERRORS faulty lines, or with the whole file; empty if it can be used."""
        repeated = self._repeated()
        first: dict[str, int] = {}
        found: list[Mapping[str, Any]] = []
        is_empty = True
        for line in self._lines():
            is_empty = False
            try:
                request = self._read(line)
                if hash(request.custom_id) in repeated:
                    _check_unique(request, first)
                self._check_context(request)
            except InvalidRequestLine as exc:
                found.append(_fault(exc.message, code=exc.code, param=exc.param, line=exc.line))
                if len(found) == MAX_ERRORS:
                    break
        if is_empty:
            found.append(_fault("The file has no requests: write one JSON object per line.", code="empty_file"))
        return found

    def _repeated(self) -> frozenset[int]:
        """Hashes of the custom_ids that come more than once, perhaps with some others': a million ids are not kept."""
        hashes = array("q")
        for line in self._lines():
            try:
                hashes.append(hash(self._read(line).custom_id))
            except InvalidRequestLine:
                continue
        values, counts = np.unique(np.array(hashes, dtype=np.int64), return_counts=True)
        return frozenset(values[counts > 1].tolist())

    def _lines(self) -> Iterator[_Line]:
        """The lines that are not blank, from the start; of one that is too long, just enough is kept."""
        self._file.seek(0)
        limit = self._defaults.max_line_bytes
        number = 0
        while raw := self._file.readline(limit + 2):
            number += 1
            line, size = raw, len(raw)
            while not raw.endswith(b"\n") and (raw := self._file.readline(1 << 20)):
                size += len(raw)
            if size > len(line):
                yield _Line(number, line, size)
            elif text := line.strip():
                yield _Line(number, text, 0)

    def _read(self, line: _Line) -> Request:
        if line.size:
            raise InvalidRequestLine(
                f"Line {line.number}: the line has {line.size} bytes and the limit is {self._defaults.max_line_bytes}: "
                "shorten the prompt or split it into several requests.",
                line=line.number,
                code="line_too_long",
            )
        return read_line(line.text, line=line.number, defaults=self._defaults)

    def _check_context(self, request: Request) -> None:
        if self._tokenizer is not None:
            try:
                check_context(request, self._endpoint, self._tokenizer, self._max_context)
            except InvalidInput as exc:
                raise InvalidRequestLine(
                    f"Line {request.line}: {exc.message}",
                    line=request.line,
                    param=self._endpoint.prompt_name,
                    code=exc.code,
                ) from exc


def read_line(raw: bytes, *, line: int, defaults: RequestDefaults) -> Request:
    """`parse_line` in a part of its time for a line of the usual form, whose body's text is kept as it came.

    Raises:
        InvalidRequestLine: as `parse_line`.
    """
    try:
        envelope = _ENVELOPE.decode(raw)
        # It refuses, in keys and values alike, what `parse_line` refuses as unusable JSON.
        body = _JSON.decode(envelope.body)
        is_deep = raw.count(b"{") + raw.count(b"[") > MAX_DEPTH and depth(body) >= MAX_DEPTH
    except (msgspec.MsgspecError, ValueError, RecursionError):
        is_deep = True
    if is_deep or len(raw) > defaults.max_line_bytes:
        # It takes what is merely unusual, and says what is wrong with the rest.
        return parse_line(raw, line=line, defaults=defaults)
    entry = {"custom_id": envelope.custom_id, "method": envelope.method, "url": envelope.url, "body": body}
    return check_entry(entry, line=line, defaults=defaults, body_json=bytes(envelope.body))


def check_context(request: Request, endpoint: Endpoint, tokenizer: Tokenizer, max_context: int | None) -> None:
    """Raises ContextExceeded when a prompt leaves no room for an answer, InvalidInput when it can't be rendered."""
    context = min(tokenizer.context_tokens, max_context or tokenizer.context_tokens)
    room, included = (context - 1, ", answer included") if endpoint.generates else (context, "")
    for prompt in endpoint.prompts(request.body):
        tokens = _count(prompt, tokenizer, room)
        if tokens > room:
            raise ContextExceeded(
                f"the prompt has {tokens} tokens and the model's context is {context}{included}: shorten it, or split "
                "the document.",
                code="context_length_exceeded",
            )


def _count(prompt: Prompt, tokenizer: Tokenizer, room: int) -> int:
    """Tokens of a prompt; where there is room for the most that it can have, it may have fewer."""
    if isinstance(prompt, int):
        return prompt
    if isinstance(prompt, str):
        return tokenizer.count(prompt)
    most = tokenizer.bound_messages(prompt)
    return most if most is not None and most <= room else tokenizer.count_messages(prompt)


def _check_unique(request: Request, first: dict[str, int]) -> None:
    """`first`: the line in which a custom_id was found first."""
    line = first.setdefault(request.custom_id, request.line)
    if line != request.line:
        raise InvalidRequestLine(
            f"Line {request.line}: the custom_id '{request.custom_id[:80]}' is already used in line {line}: give every "
            "line its own.",
            line=request.line,
            param="custom_id",
            code="duplicate_custom_id",
        )


def _fault(message: str, *, code: str | None, param: str | None = None, line: int | None = None) -> Mapping[str, Any]:
    return {"code": code or "invalid_request", "message": message, "param": param, "line": line}
