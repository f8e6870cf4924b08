"""The Celery application of the workers: `celery -A workers ...`."""

from __future__ import annotations

import logging

from celery import signals

from app import logs
from app.broker.celery import celery_app
from app.settings import load

# At INFO it writes every address that is called into the log, with the passwords in it.
logging.getLogger("httpx").setLevel(logging.WARNING)

logs.keep_words_out()


@signals.after_setup_logger.connect
@signals.after_setup_task_logger.connect
def choose_format(logger: logging.Logger, **_: object) -> None:
    if load().log_format == "json":
        logs.write_json(logger)


app = celery_app(load())
app.conf.imports = (
    "workers.lifecycle",
    "workers.schedule",
    "workers.generate",
    "workers.evaluate",
    "workers.beat",
)
