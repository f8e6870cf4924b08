"""What happens by the clock."""

from __future__ import annotations

from app.ports import Task
from app.settings import load
from workers.celery import app

settings = load()
app.conf.beat_schedule = {
    "directive mixes": {
        "task": Task.RECOMPUTE,
        "schedule": settings.period_s,
        "args": ("beat",),
        # A tick that could not run in time is worth nothing: the next one does its work.
        "options": {"queue": Task.RECOMPUTE.queue, "expires": settings.period_s},
    },
    "reconciliation": {
        "task": Task.RECONCILE,
        "schedule": settings.tick_s,
        "args": ("beat",),
        "options": {"queue": Task.RECONCILE.queue, "expires": settings.tick_s},
    },
}
