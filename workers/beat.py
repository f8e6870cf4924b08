"""What happens by the clock."""

from __future__ import annotations

from app.broker.celery import ORDINARY
from app.ports import Task
from app.settings import load
from workers.celery import app

INTENSITY_S = 60.0
"""How often it is looked whether the present hour's intensity is known: a new hour must not wait for a period."""

PLAN_S = 60.0
"""How often the open batches are planned anew: forecasts, capacity and backlog change meanwhile."""

CONSIDER_S = 60.0
"""How often it is decided about evaluation: the gate must follow the hour, and a drop in quality must not wait."""

DISCOVERY_S = 3600.0
"""How often it is looked whether classes of prompts are due: the first ones must not wait for a day of uptime."""

FORGET_S = 60.0
"""How often texts past their retention are dropped, and what is being erased."""

settings = load()


def _every(seconds: float, task: Task) -> dict[str, object]:
    # A message that could not be taken in time is worth nothing: the next one does its work.
    return {
        "task": task,
        "schedule": seconds,
        "args": ("beat",),
        "options": {"queue": task.queue, "expires": seconds, "priority": ORDINARY},
    }


app.conf.beat_schedule = {
    "directive mixes": _every(settings.period_s, Task.RECOMPUTE),
    "carbon intensity": _every(min(INTENSITY_S, settings.period_s), Task.REFRESH),
    "plan of batches": _every(min(PLAN_S, settings.period_s), Task.PLAN),
    "classes of prompts": _every(min(DISCOVERY_S, settings.discover_s), Task.DISCOVER),
    "evaluation": _every(min(CONSIDER_S / settings.clock_speed, settings.period_s), Task.CONSIDER),
    "retention": _every(min(FORGET_S, settings.period_s), Task.FORGET),
    "reconciliation": _every(settings.tick_s, Task.RECONCILE),
}
