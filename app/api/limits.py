"""How much a request may hold: its headers, its address, its body, and the objects inside each other in it."""

from __future__ import annotations

import re

from fastapi import HTTPException
from starlette.types import Message, Receive, Scope

from app.domain.request import MAX_DEPTH

MAX_BODY_BYTES = 1 << 20
"""Longest body of a request that is no upload; also the room for a form around an uploaded file."""
MAX_HEADER_BYTES = 1 << 15
"""All headers together."""
MAX_ADDRESS_BYTES = 1 << 14
"""Path and query."""

_TEXTS = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_BRACKETS = re.compile(rb"[\[{]|[\]}]")


def refusal_of_size(scope: Scope, limit: int) -> tuple[int, str] | None:
    """Status and message of what is too large by its headers, before a byte of the body is read."""
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    if sum(len(name) + len(value) for name, value in headers) > MAX_HEADER_BYTES:
        return 431, f"The headers have more than {MAX_HEADER_BYTES} bytes: send fewer, or shorter ones."
    if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MAX_ADDRESS_BYTES:
        return 414, f"The address has more than {MAX_ADDRESS_BYTES} bytes: shorten the query."
    stated = next((value for name, value in headers if name == b"content-length"), b"0")
    return (413, _too_long(limit)) if stated.isdigit() and int(stated[:20]) > limit else None


def limited(receive: Receive, limit: int) -> Receive:
    """`receive` that refuses a body as soon as it is longer than `limit` bytes.

    Raises:
        HTTPException: 413.
    """
    size = 0

    async def counted() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > limit:
            raise HTTPException(413, _too_long(limit))
        return message

    return counted


def shallow(receive: Receive) -> Receive:
    """`receive` that refuses a body of JSON, in the end, whose arrays and objects lie too deep inside each other.

    Raises:
        HTTPException: 400.
    """
    pieces: list[bytes] = []

    async def looked_at() -> Message:
        message = await receive()
        if message["type"] == "http.request":
            pieces.append(message.get("body", b""))
            if not message.get("more_body") and depth(b"".join(pieces)) > MAX_DEPTH:
                raise HTTPException(400, f"The body is nested more than {MAX_DEPTH} levels deep: flatten it.")
        return message

    return looked_at


def depth(raw: bytes) -> int:
    """Arrays and objects inside each other in a text of JSON, if they are many; told from its brackets alone."""
    if raw.count(b"[") + raw.count(b"{") <= MAX_DEPTH:
        return 0
    deepest = here = 0
    for bracket in _BRACKETS.findall(_TEXTS.sub(b"", raw)):
        here += 1 if bracket in b"[{" else -1
        deepest = max(deepest, here)
    return deepest


def _too_long(limit: int) -> str:
    return f"The body is longer than {limit} bytes: split it into several batches."
