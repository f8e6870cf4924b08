"""The task of the `generate` queue: a shard id in, one service call."""

from __future__ import annotations

from app.domain.errors import EngineFailed
from app.ports import Task
from app.services import generation
from workers import lifecycle
from workers.celery import app


@app.task(name=Task.GENERATE)
def generate(shard_id: str) -> None:
    try:
        generation.run_shard(lifecycle.context(), lifecycle.worker(), shard_id)
    except EngineFailed:
        lifecycle.stop()
        raise
