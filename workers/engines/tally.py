"""Tokens that requests took and gave, as totals that grow, reported as what came since the last report."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass

from app.domain.attribution import Work
from app.domain.completion import Completion


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Computed tokens of the prompt, and tokens of the answer; of all answers, if there are several."""

    prefill: int = 0
    decode: int = 0


NONE = Tokens()


class Tally:
    """Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reached: dict[str, Tokens] = {}
        self._new: dict[str, Tokens] = {}

    def reach(self, key: str, total: Tokens) -> None:
        """The request is this far; a total below an earlier one, from a source that knows less, changes nothing."""
        with self._lock:
            before, new = self._reached.get(key, NONE), self._new.get(key, NONE)
            reached = Tokens(prefill=max(before.prefill, total.prefill), decode=max(before.decode, total.decode))
            if reached == before:
                return
            self._reached[key] = reached
            self._new[key] = Tokens(
                prefill=new.prefill + reached.prefill - before.prefill,
                decode=new.decode + reached.decode - before.decode,
            )

    def end(self, key: str) -> None:
        """The request is over: a later one of the same key begins at zero."""
        with self._lock:
            self._reached.pop(key, None)

    def drain(self) -> Mapping[str, Tokens]:
        """What came since the previous call, of requests that ended meanwhile too."""
        with self._lock:
            new, self._new = self._new, {}
            return new


def work(place_s: float, tokens: Tokens | None) -> Work:
    done = tokens or NONE
    return Work(place_s=place_s, prefill_tokens=done.prefill, decode_tokens=done.decode)


def tokens_of(completion: Completion) -> Tokens:
    """Those that were computed: a server that counts more cached ones than there are has computed none."""
    computed = completion.prompt_tokens - completion.cached_tokens
    return Tokens(prefill=max(computed, 0), decode=completion.completion_tokens)
