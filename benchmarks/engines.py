"""Engines that do no inference, so that what is around them can be measured: `SPROUT_ENGINE=benchmarks.engines:instant`
or `:waiting`."""

from __future__ import annotations

import asyncio
import os

from app.domain.completion import Completion, EngineRequest
from app.ports import Engine
from app.settings import Settings
from workers.engines.streaming import StreamingEngine, completion

ANSWER = "The answer is forty-two, because six times seven is forty-two and nothing else was asked. " * 2
TOKENS = 40

LATENCY_VARIABLE = "BENCHMARK_LATENCY_S"


class WaitingEngine(StreamingEngine):
    """Every request takes `latency_s` and no computing; as many run at once as there are slots."""

    def __init__(self, *, slots: int, latency_s: float) -> None:
        self._latency_s = latency_s
        super().__init__(name="waiting-engine", slots=slots)

    async def answer(self, request: EngineRequest, timeout_s: float) -> Completion:
        if self._latency_s:
            await asyncio.sleep(self._latency_s)
        message = {"role": "assistant", "content": ANSWER}
        body = {
            "id": f"chatcmpl-{request.key}",
            "object": "chat.completion",
            "created": 0,
            "model": request.body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
            "usage": {"prompt_tokens": 150, "completion_tokens": TOKENS, "total_tokens": 150 + TOKENS},
        }
        return completion(request.key, 200, body)


def instant(settings: Settings) -> Engine:
    """Answers at once."""
    return WaitingEngine(slots=settings.engine_max_seqs, latency_s=0.0)


def waiting(settings: Settings) -> Engine:
    """Answers after BENCHMARK_LATENCY_S seconds."""
    return WaitingEngine(slots=settings.engine_max_seqs, latency_s=float(os.environ[LATENCY_VARIABLE]))
