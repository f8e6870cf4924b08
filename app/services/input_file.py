"""A batch's input file: read once to store its requests, and again only where some of its lines are rejected."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import msgspec
import numpy as np

from app.domain.endpoints import ENDPOINTS, Endpoint, Prompt
from app.domain.errors import ContextExceeded, InvalidInput, InvalidRequestLine
from app.domain.rejection import Rejection, rejection
from app.domain.request import MAX_DEPTH, Request, RequestDefaults, check_entry, depth, parse_line
from app.ports import Tokenizer


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


class InputFile:
    """The requests of an input file, and the lines that are rejected.

    Args:
        max_requests: lines that it may have, blank ones not counted.
    """

    def __init__(
        self,
        file: BinaryIO,
        defaults: RequestDefaults,
        tokenizer: Tokenizer | None,
        *,
        max_context: int | None,
        max_requests: int,
    ) -> None:
        self.rejected = 0
        """Lines that `requests` has left out, once all of those have been taken."""
        self._file = file
        self._defaults = defaults
        self._endpoint = ENDPOINTS[defaults.endpoint]
        self._tokenizer = tokenizer
        self._max_context = max_context
        self._max_requests = max_requests
        self._repeated: frozenset[int] = frozenset()

    def requests(self) -> Iterator[Request]:
        """Every request that can be used, in line order.

        Whether a custom_id comes twice is not looked at before `find_repeated`.

        Raises:
            InvalidInput: the file has too many lines.
        """
        self.rejected = 0
        for found in self._read_all():
            if isinstance(found, Request):
                yield found
            else:
                self.rejected += 1

    def rejections(self) -> Iterator[Rejection]:
        """The other lines, each with its cause, in line order."""
        for found in self._read_all():
            if isinstance(found, InvalidRequestLine):
                yield rejection(found)

    def find_repeated(self) -> None:
        """From now on, of the requests with one custom_id only the first is taken.

        Of a million ids no more is kept than eight bytes each, and those that come more than once.
        """
        hashes = array("q")
        for line in self._lines():
            try:
                hashes.append(hash(self._read(line).custom_id))
            except InvalidRequestLine:
                continue
        values, counts = np.unique(np.array(hashes, dtype=np.int64), return_counts=True)
        self._repeated = frozenset(values[counts > 1].tolist())

    def _read_all(self) -> Iterator[Request | InvalidRequestLine]:
        first: dict[str, int] = {}
        for line in self._lines():
            found: Request | InvalidRequestLine
            try:
                found = self._read(line)
                self._check_context(found)
                # Last: a line that is rejected does not use up its custom_id.
                if self._repeated and hash(found.custom_id) in self._repeated:
                    _check_unique(found, first)
            except InvalidRequestLine as exc:
                found = exc
            yield found

    def _lines(self) -> Iterator[_Line]:
        """The lines that are not blank, from the start; of one that is too long, just enough is kept."""
        self._file.seek(0)
        limit = self._defaults.max_line_bytes
        number, left = 0, self._max_requests
        while raw := self._file.readline(limit + 2):
            number += 1
            line, size = raw, len(raw)
            while not raw.endswith(b"\n") and (raw := self._file.readline(1 << 20)):
                size += len(raw)
            is_long = size > len(line)
            text = line if is_long else line.strip()
            if not text:
                continue
            left -= 1
            if left < 0:
                raise _too_many(self._max_requests)
            yield _Line(number, text, size if is_long else 0)

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
                    custom_id=request.custom_id,
                    param=self._endpoint.prompt_name,
                    code=exc.code or f"invalid_{self._endpoint.prompt_name}",
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
            custom_id=request.custom_id,
            param="custom_id",
            code="duplicate_custom_id",
        )


def _too_many(most: int) -> InvalidInput:
    return InvalidInput(
        f"The file has more than {most} requests: split it into several batches. SPROUT_MAX_REQUESTS sets the limit.",
        param="input_file_id",
        code="too_many_tasks",
    )
