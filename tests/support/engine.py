"""An engine without a model, for every test that is not about inference."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from app.domain.completion import Completion, EngineRequest
from app.settings import Settings
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

    async def answer(self, request: EngineRequest, timeout_s: float) -> Completion:
        self.requests.append(request)
        scripted = self.on_request(request) if self.on_request else None
        if scripted is not None:
            return scripted
        if HANG in prompt_of(request.body).split():
            await asyncio.get_running_loop().create_future()
        return completion(request.key, *echo(request.endpoint, request.body))


RUNS_VARIABLE = "TEST_RUNS_FILE"
"""Names the file in which a `PatientEngine` keeps the prompts that it began with, one a line."""


class PatientEngine(EchoEngine):
    """Takes a little time over each answer, and its file outlives a worker that is killed."""

    def __init__(self, *, slots: int, runs: Path, pause_s: float = 0.05) -> None:
        self._runs = runs.open("a", buffering=1)
        self._pause_s = pause_s
        super().__init__(slots=slots)

    async def answer(self, request: EngineRequest, timeout_s: float) -> Completion:
        print(prompt_of(request.body), file=self._runs)
        await asyncio.sleep(self._pause_s)
        return await super().answer(request, timeout_s)

    async def shut(self) -> None:
        self._runs.close()


def patient(settings: Settings) -> PatientEngine:
    """`SPROUT_ENGINE=tests.support.engine:patient`."""
    return PatientEngine(slots=settings.engine_max_seqs, runs=Path(os.environ[RUNS_VARIABLE]))


CITED = "[cited]"
"""A prompt with this word is what an `IndiscreetEngine` fails at, with the prompt in its error."""


class IndiscreetEngine(EchoEngine):
    """Says in its errors, and in those behind them, what it was asked."""

    async def answer(self, request: EngineRequest, timeout_s: float) -> Completion:
        prompt = prompt_of(request.body)
        if CITED in prompt.split():
            try:
                raise ValueError(prompt)
            except ValueError as exc:
                raise RuntimeError(f"cannot answer {prompt}") from exc
        return await super().answer(request, timeout_s)


def indiscreet(settings: Settings) -> IndiscreetEngine:
    """`SPROUT_ENGINE=tests.support.engine:indiscreet`."""
    return IndiscreetEngine(slots=settings.engine_max_seqs)
