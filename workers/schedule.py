"""Tasks of the `schedule` queue: an id in, one service call."""

from __future__ import annotations

from app.ports import Task
from app.services import (
    deferral,
    directives,
    discovery,
    finalization,
    grid,
    installation,
    reconciliation,
    retention,
    rounds,
    telling,
    validation,
)
from workers import lifecycle
from workers.celery import app


@app.task(name=Task.VALIDATE)
def validate(batch_id: str) -> None:
    validation.validate(lifecycle.context(), batch_id)
    lifecycle.teller().wake()


@app.task(name=Task.FINALIZE)
def finalize(batch_id: str) -> None:
    finalization.finalize(lifecycle.context(), batch_id)
    lifecycle.teller().wake()


@app.task(name=Task.REFRESH)
def refresh(_reason: str) -> None:
    grid.refresh(lifecycle.context(), lifecycle.intensity_provider())


@app.task(name=Task.RECOMPUTE)
def recompute(_reason: str) -> None:
    installation.publish(lifecycle.context())
    telling.publish_operator(lifecycle.context())
    directives.recompute(lifecycle.context(), lifecycle.intensity_provider())


@app.task(name=Task.DISCOVER)
def discover(_reason: str) -> None:
    discovery.discover(lifecycle.context())


@app.task(name=Task.PLAN)
def plan(_reason: str) -> None:
    deferral.replan(lifecycle.context())


@app.task(name=Task.RECONCILE)
def reconcile(_reason: str) -> None:
    reconciliation.reconcile(lifecycle.context())
    lifecycle.teller().wake()


@app.task(name=Task.FORGET)
def forget(_reason: str) -> None:
    retention.forget(lifecycle.context())


@app.task(name=Task.CONSIDER)
def consider(_reason: str) -> str:
    """What it returns is seen in Flower: a queue that is held looks held."""
    return rounds.consider(lifecycle.context())
