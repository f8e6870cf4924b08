"""How far vLLM is with each request, read from its own record when somebody asks.

Callbacks for every token would slow the engine down. What a request that is preempted computes a second time is not
seen.
"""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from workers.engines.tally import Tokens

if TYPE_CHECKING:
    from vllm.v1.engine.output_processor import RequestState


_OUR_ID = re.compile(r"[0-9a-f]{32}")


class VllmProgress:
    """Reports the totals of every followed request to `reach`. Thread-safe."""

    def __init__(self, running: Callable[[], Collection[RequestState]], reach: Callable[[str, Tokens], None]) -> None:
        """`running` is vLLM's record: a state leaves it when its sequence ends, and is kept here until the request
        does, because of several answers to a request each has a state."""
        self._running = running
        self._reach = reach
        self._lock = threading.Lock()
        self._keys: dict[str, str] = {}
        self._states: dict[str, dict[str, RequestState]] = {}

    @contextmanager
    def followed(self, key: str) -> Iterator[str]:
        """The id that the request `key` is to have in vLLM, where it is followed until the end of the block."""
        request_id = uuid.uuid4().hex
        with self._lock:
            self._keys[request_id] = key
            self._states[request_id] = {}
        try:
            yield request_id
        finally:
            with self._lock:
                del self._keys[request_id], self._states[request_id]

    def look(self) -> None:
        """Report how far every followed request is."""
        with self._lock:
            # list() copies in one step, while the engine's thread changes what it copies.
            for state in list(self._running()):
                request_id = _request_id(state.external_req_id)
                if request_id in self._states:
                    self._states[request_id][state.request_id] = state
            for request_id, states in self._states.items():
                parts = [_tokens(state) for state in states.values()]
                total = Tokens(prefill=sum(part.prefill for part in parts), decode=sum(part.decode for part in parts))
                self._reach(self._keys[request_id], total)


def _request_id(external: str) -> str:
    """vLLM puts the endpoint before it (`chatcmpl-`, `resp_`) and the number of a prompt behind it."""
    found = _OUR_ID.search(external)
    return found[0] if found else ""


def _tokens(state: RequestState) -> Tokens:
    prefill = 0 if state.is_prefilling else max(state.prompt_len - state.num_cached_tokens, 0)
    decode = state.detokenizer.num_output_tokens() if state.detokenizer is not None else 0
    return Tokens(prefill=prefill, decode=decode)
