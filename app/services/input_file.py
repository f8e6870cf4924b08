"""A batch's input file: read once to store its requests, and again only where some of its lines are rejected."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any, BinaryIO, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from app.domain.endpoints import ENDPOINTS, Endpoint, Prompt
from app.domain.errors import ContextExceeded, InvalidInput, InvalidRequestLine
from app.domain.rejection import Rejection, rejection
from app.domain.request import MAX_DEPTH, Request, RequestDefaults, check_entry, depth, parse_line
from app.ports import Tokenizer

Lines = npt.NDArray[np.int64]
"""Line numbers."""
NO_LINES = (0, 0)
_DIGEST_BYTES = 16
"""Of a custom_id: two that differ have never been seen to share one of this length."""


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
        """Lines that the last reading has found to be no requests, once all of it was taken."""
        self._file = file
        self._defaults = defaults
        self._endpoint = ENDPOINTS[defaults.endpoint]
        self._tokenizer = tokenizer
        self._max_context = max_context
        self._max_requests = max_requests
        self._repeats: tuple[Lines, Lines] = (np.empty(0, np.int64),) * 2

    def requests(self) -> Iterator[Request]:
        """Every request that can be used, in line order.

        Whether a custom_id comes twice is not looked at before `find_repeated`.

        Raises:
            InvalidInput: the file has too many lines.
        """
        return self._read_all(rejected=False)

    def rejections(self) -> Iterator[Rejection]:
        """The other lines, each with its cause, in line order."""
        return self._read_all(rejected=True)

    def find_repeated(self) -> None:
        """From now on, of the requests with one custom_id only the first is taken.

        Meanwhile about ninety bytes are held for each request, and afterwards sixteen for each that comes again.
        """
        digests, lines = bytearray(), array("q")
        for request in self.requests():
            digests += blake2b(request.custom_id.encode(), digest_size=_DIGEST_BYTES).digest()
            lines.append(request.line)
        self._repeats = _repeats(digests, lines)

    def _read_all(self, *, rejected: bool) -> Iterator[Any]:
        """The requests, or else the rejected lines."""
        self.rejected = 0
        repeats = zip(*self._repeats, strict=True)
        again, first = next(repeats, NO_LINES)
        for line in self._lines():
            try:
                request = self._read(line)
                self._check_context(request)
                if request.line == again:
                    earlier, (again, first) = first, next(repeats, NO_LINES)
                    raise _duplicate(request, earlier)
            except InvalidRequestLine as exc:
                self.rejected += 1
                if rejected:
                    yield rejection(exc)
            else:
                if not rejected:
                    yield request

    def _lines(self) -> Iterator[_Line]:
        """The lines that are not blank, from the start; of one that is too long, just enough is kept."""
        self._file.seek(0)
        limit = self._defaults.max_line_bytes
        most = self._max_requests
        number = blank = 0
        while raw := self._file.readline(limit + 2):
            number += 1
            line, size = raw, len(raw)
            while not raw.endswith(b"\n") and (raw := self._file.readline(1 << 20)):
                size += len(raw)
            is_long = size > len(line)
            text = line if is_long else line.strip()
            if not text:
                blank += 1
                continue
            if number > most and number - blank > most:
                raise _too_many(most)
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
    if endpoint.may_be_cut(request.body):
        return
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
    most = tokenizer.bound(prompt) if isinstance(prompt, str) else tokenizer.bound_messages(prompt)
    if most is not None and most <= room:
        return most
    return tokenizer.count(prompt) if isinstance(prompt, str) else tokenizer.count_messages(prompt)


def _repeats(digests: bytearray, lines: array[int]) -> tuple[Lines, Lines]:
    """The lines whose digest an earlier one has, in order, and for each of them the first such line.

    Args:
        digests: one of `_DIGEST_BYTES` for each of `lines`, which ascend.
    """
    halves = np.frombuffer(digests, dtype=np.uint64).reshape(-1, 2)
    # Stable: lines with the same digest stay in order.
    order = np.lexsort(halves.T)
    alike, numbers = halves[order], np.array(lines)[order]
    is_first = np.ones(len(order), dtype=bool)
    is_first[1:] = (alike[1:] != alike[:-1]).any(axis=1)
    firsts = numbers[is_first][np.cumsum(is_first) - 1]
    later, first = numbers[~is_first], firsts[~is_first]
    by_line = np.argsort(later)
    return later[by_line], first[by_line]


def _duplicate(request: Request, first: int) -> InvalidRequestLine:
    return InvalidRequestLine(
        f"Line {request.line}: the custom_id '{request.custom_id[:80]}' is already used in line {first}: give every "
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
