"""The Celery application of the workers: `celery -A workers ...`."""

from __future__ import annotations

import logging

from app.broker.celery import celery_app
from app.settings import load

# At INFO it writes every address that is called into the log, with the passwords in it.
logging.getLogger("httpx").setLevel(logging.WARNING)

app = celery_app(load())
app.conf.imports = (
    "workers.lifecycle",
    "workers.schedule",
    "workers.generate",
    "workers.evaluate",
    "workers.beat",
)
