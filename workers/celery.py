"""The Celery application of the workers: `celery -A workers ...`."""

from __future__ import annotations

from app.broker.celery import celery_app
from app.settings import load

app = celery_app(load())
app.conf.imports = (
    "workers.lifecycle",
    "workers.schedule",
    "workers.generate",
    "workers.evaluate",
    "workers.beat",
)
