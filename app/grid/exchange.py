"""One question and its answer over HTTP, bounded in time and in size whatever the other side does."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import httpx


@dataclass(frozen=True, kw_only=True)
class Limits:
    timeout_s: float = 10.0
    """For a connection, and for each further piece of the answer."""
    deadline_s: float = 30.0
    """For everything together: a source that sends a byte now and then keeps within any timeout."""
    most_bytes: int = 10_000_000
    """Of a body, unpacked. The greatest that is asked for, a month in steps of 5 minutes, has about 1 MB."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    """Names in any case."""
    text: str


class Overdue(Exception):
    """The answer was not complete at the deadline."""


class TooLong(Exception):
    """The body is longer than allowed."""


def get(
    url: str,
    *,
    params: Mapping[str, str],
    headers: Mapping[str, str],
    auth: tuple[str, str] | None,
    limits: Limits,
    trust_env: bool,
) -> Answer:
    """The answer to one GET, of any status. The caller's thread has no event loop.

    Raises:
        httpx.RequestError: there was none.
        Overdue, TooLong
    """

    async def answer() -> Answer:
        async with (
            httpx.AsyncClient(timeout=limits.timeout_s, trust_env=trust_env) as http,
            http.stream("GET", url, params=params or None, headers=headers, auth=auth) as response,
        ):
            body = await _body(response, limits.most_bytes)
            # JSON is UTF-8, whatever the header says.
            text = body.decode("utf-8-sig", errors="replace")
            return Answer(status=response.status_code, headers=response.headers, text=text)

    async def in_time() -> Answer:
        try:
            async with asyncio.timeout(limits.deadline_s):
                return await answer()
        except TimeoutError as exc:
            raise Overdue from exc

    # A deadline over connection, handshake, headers and body is what only an event loop can keep.
    return asyncio.run(in_time())


async def _body(response: httpx.Response, most_bytes: int) -> bytes:
    body = bytearray()
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > most_bytes:
            raise TooLong
    return bytes(body)
