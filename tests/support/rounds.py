"""Rounds of evaluation on real services, from the batch that is sampled to the verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.ports import Judge, Task
from app.services import directives, evaluation, rounds
from app.services.generation import Worker
from tests.support.engine import EchoEngine
from tests.support.factories import line
from tests.support.grid import ScriptedProvider
from tests.support.services import Desk, ScriptedMeter, jsonl

HOURS = [400.0] * 6


def serve(
    desk: Desk,
    worker: Worker,
    *,
    requests: int = 20,
    text: str = "Tell me of the number",
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Answer a batch in an hour of 400 g/kWh, and let eight hours pass; the hour is as clean as the past then."""
    desk.expect(HOURS)
    lines = [line(f"r-{number}", text=f"{text} {number}") for number in range(requests)]
    desk.validated(jsonl(lines), metadata=metadata)
    desk.work(worker)
    directives.recompute(desk.context, ScriptedProvider(400.0))
    desk.clock.advance(hours=8)
    desk.expect(HOURS)


def served(desk: Desk, engine: EchoEngine | None = None) -> Worker:
    """A worker that has served a batch, and from now on uses so little that a budget is good for a whole round."""
    meter = ScriptedMeter()
    worker = desk.worker(engine or EchoEngine(), meter)
    serve(desk, worker)
    meter.step_j = 0.1
    return worker


def ended(desk: Desk, worker: Worker, judges: Sequence[Judge]) -> str:
    """Let the bell ring for the rounds that may run, and let the worker do it; what the tick decided."""
    said = rounds.consider(desk.context)
    for task, argument in desk.dispatcher.take_all():
        if task is Task.EVALUATE:
            evaluation.run_round(desk.context, worker, judges, argument)
    return said
