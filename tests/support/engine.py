"""An engine without a model, for every test that is not about inference."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from app.domain.completion import Completion, EngineRequest
from tests.support.openai_server import HANG, echo, prompt_of
from workers.engines.streaming import StreamingEngine, completion

Script = Callable[[EngineRequest], Completion | None]
"""Sees each request; None leaves it to the echo. May raise `EngineFailed`."""


class EchoEngine(StreamingEngine):
    """Answers at once with the prompt's own words, as `OpenAIServer` does; the same request has the same answer."""

    def __init__(self, on_request: Script | None = None, *, slots: int = 64) -> None:
        self.on_request = on_request
        self.requests: list[EngineRequest] = []
        super().__init__(name="echo-engine", slots=slots)

    @property
    def devices(self) -> int:
        return 1

    async def open(self) -> None:
        pass

    async def shut(self) -> None:
        pass

    async def answer(self, request: EngineRequest, timeout_s: float) -> Completion:
        self.requests.append(request)
        scripted = self.on_request(request) if self.on_request else None
        if scripted is not None:
            return scripted
        if HANG in prompt_of(request.body).split():
            await asyncio.get_running_loop().create_future()
        return completion(request.key, *echo(request.endpoint, request.body))
