"""The judge that is a language model: behind an engine, this worker's own or an OpenAI-compatible server."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

from app.domain.completion import Completion, EngineRequest
from app.domain.endpoints import CHAT
from app.domain.errors import EngineUnavailable, InvalidInput, JudgeUnavailable
from app.domain.judging import (
    REPLY_TOKENS,
    Comparison,
    Kind,
    Opinion,
    messages,
    parse_reply,
    response_format,
)
from app.domain.text import storable
from app.ports import Engine

TIMEOUT_S = 120.0
WAIT_S = 1.0
BAD_REQUEST = 400
NOT_THERE = (403, 404, 405)
"""No such model or address, or not for this key: every comparison would be answered so."""
LONGEST_REPLY = 2000
"""Characters of a reply that are kept."""


class ChatJudge:
    """Asks an engine, at temperature 0, for a reply in a fixed form; without one where the engine refuses it.

    The engine is the caller's: who opens it closes it.
    """

    kind = Kind.PREFERENCE
    heeds_order = True

    def __init__(
        self,
        engine: Engine,
        *,
        name: str,
        model: str,
        per_minute: int | None = None,
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        """`per_minute` is the most requests that are begun in any minute; None for any number. `timeout_s` is for one
        of them. `wait` passes seconds of `clock`.
        """
        self.name = name
        self.model = model
        self._engine = engine
        self._timeout_s = timeout_s
        self._wait = wait
        self._rate = _Rate(per_minute, clock) if per_minute else None
        self._takes_forms = True

    def judge(self, comparisons: Sequence[Comparison]) -> Generator[Sequence[Opinion], None, None]:
        waiting = deque(comparisons)
        while waiting:
            number = self._rate.take(len(waiting)) if self._rate else len(waiting)
            if not number:
                self._wait(WAIT_S)
                yield []
                continue
            # What was refused for its form is asked again, and counts as asked again.
            waiting += yield from self._ask([waiting.popleft() for _ in range(number)])

    def _ask(self, asked: Sequence[Comparison]) -> Generator[Sequence[Opinion], None, Sequence[Comparison]]:
        """Opinions; returns those whose form was refused."""
        by_key = {comparison.key: comparison for comparison in asked}
        forms = self._takes_forms
        refused: list[Comparison] = []
        requests = [self._request(comparison, forms=forms) for comparison in asked]
        try:
            with closing(self._engine.generate(requests, timeout_s=self._timeout_s, wait_s=WAIT_S)) as groups:
                for group in groups:
                    _check_address(group)
                    answered = [one for one in group if not (forms and _refuses_forms(one))]
                    refused += [by_key[one.key] for one in group if forms and _refuses_forms(one)]
                    yield [_opinion(by_key[one.key], one) for one in answered]
        except EngineUnavailable as exc:
            raise JudgeUnavailable(f"The judge cannot be asked: {exc.message}") from exc
        if refused:
            self._takes_forms = False
        return refused

    def _request(self, comparison: Comparison, *, forms: bool) -> EngineRequest:
        body: dict[str, Any] = {
            "model": self.model,
            "messages": messages(comparison),
            "temperature": 0,
            "max_tokens": REPLY_TOKENS,
        }
        if forms:
            body["response_format"] = response_format(len(comparison.answers))
        return EngineRequest(key=comparison.key, endpoint=CHAT.path, body=body)


def _check_address(completions: Sequence[Completion]) -> None:
    """Raises JudgeUnavailable where it is not the comparison that was refused."""
    for one in completions:
        if one.status_code in NOT_THERE:
            raise JudgeUnavailable(
                f"The judge cannot be asked: it answered {one.status_code}, {_error(one.body)!r}: check its URL, model "
                "and key."
            )


def _refuses_forms(completion: Completion) -> bool:
    return completion.status_code == BAD_REQUEST and "response_format" in str(completion.body)


def _opinion(comparison: Comparison, completion: Completion) -> Opinion:
    if not completion.succeeded:
        return Opinion(
            key=comparison.key, fault=f"the judge answered {completion.status_code}: {_error(completion.body)}"
        )
    reply = CHAT.answer(completion.body)
    said = Opinion(
        key=comparison.key,
        reply=reply[:LONGEST_REPLY],
        prompt_tokens=completion.prompt_tokens,
        completion_tokens=completion.completion_tokens,
    )
    try:
        return replace(said, preferred=parse_reply(reply, len(comparison.answers)))
    except InvalidInput as exc:
        return replace(said, fault=exc.message)


def _error(body: Mapping[str, Any]) -> str:
    error = body.get("error")
    return storable(str(error.get("message") if isinstance(error, Mapping) else body)[:200])


class _Rate:
    """At most so many in any minute."""

    def __init__(self, per_minute: int, clock: Callable[[], float]) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._begun: deque[float] = deque()

    def take(self, wanted: int) -> int:
        """How many of `wanted` may begin now; they count as begun."""
        now = self._clock()
        while self._begun and self._begun[0] <= now - 60:
            self._begun.popleft()
        number = min(wanted, self._per_minute - len(self._begun))
        self._begun.extend([now] * number)
        return number
