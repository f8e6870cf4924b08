"""Whose key a request brings, without a query for each request."""

from __future__ import annotations

from functools import partial
from hashlib import sha256
from typing import NamedTuple

import anyio.to_thread

from app.services import keys
from app.services.context import Context
from app.services.keys import Caller

KNOWN_S = 5.0
"""For which an answer of the database holds: a revoked key, or one of a disabled tenant, works for so long at most in
each API process."""
MOST_KNOWN = 10_000
"""Keys that are remembered, wrong ones too."""


class _Answer(NamedTuple):
    caller: Caller | None
    at_s: float


class Callers:
    """Not thread-safe: for one event loop."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._known: dict[bytes, _Answer] = {}
        self._any: tuple[bool, float] | None = None

    async def of(self, given: bytes) -> Caller | None:
        """The caller whose key this is; None where it is nobody's, or has ended.

        Raises:
            ServiceUnavailable: PostgreSQL does not answer.
        """
        digest, now_s = sha256(given).digest(), self._now_s()
        answer = self._known.get(digest)
        if answer is None or not 0 <= now_s - answer.at_s < KNOWN_S:
            look = partial(keys.find, self._context.database, self._context.clock, given)
            answer = _Answer(await anyio.to_thread.run_sync(look), now_s)
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[digest] = answer
        caller = answer.caller
        has_ended = caller is not None and caller.until is not None and caller.until <= self._context.clock.now()
        return None if has_ended else caller

    async def exist(self) -> bool:
        """Whether any key exists, so that one is asked for. Raises ServiceUnavailable."""
        now_s = self._now_s()
        if self._any is None or not 0 <= now_s - self._any[1] < KNOWN_S:
            self._any = await anyio.to_thread.run_sync(keys.exist, self._context.database), now_s
        return self._any[0]

    def _now_s(self) -> float:
        return self._context.clock.monotonic()
