"""The task of the `evaluate` queue: a round id in, one service call."""

from __future__ import annotations

from app.domain.errors import EngineFailed
from app.ports import Task
from app.services import evaluation
from workers import lifecycle
from workers.celery import app


@app.task(name=Task.EVALUATE)
def evaluate(round_id: str) -> None:
    try:
        evaluation.run_round(lifecycle.context(), lifecycle.worker(), lifecycle.judges(), round_id)
    except EngineFailed:
        lifecycle.stop()
        raise
