"""The command line of each long-running process, for `sprout up` and for running one on its own."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping, Sequence

from app.broker.celery import OF_ENGINES, queue_name
from app.domain.errors import ConfigurationError
from app.ports import Queue
from app.settings import Settings

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
SCHEDULER_THREADS = 4
"""A long validation must not hold up reconciliation."""

HEARTBEAT_S = 15
"""Flower is told this often that a worker lives. Every two seconds, as by default, takes a quarter of a percent of a
core of each worker whose engine wants all of it."""

ROUNDS_AT_ONCE = 1
"""A round of evaluation must not keep a shard from its place."""

_CELERY = (sys.executable, "-m", "celery", "-A", "workers")


def api(settings: Settings) -> Sequence[str]:
    address = ("--host", settings.api_host, "--port", str(settings.api_port))
    server = (sys.executable, "-m", "uvicorn", "--factory", "app.api.main:application")
    return (*server, *address, "--http", "app.api.protocol:BoundedProtocol", "--no-access-log")


def beat(settings: Settings) -> Sequence[str]:
    schedule = settings.home / "run" / "beat"
    schedule.parent.mkdir(parents=True, exist_ok=True)
    return (*_CELERY, "beat", "--loglevel=INFO", "--pidfile=", f"--schedule={schedule}")


def worker(settings: Settings, queues: Sequence[Queue], name: str | None = None) -> Sequence[str]:
    """Threads, not processes: the engine cannot be used from a forked child.

    Raises:
        ConfigurationError: evaluation without generation: it uses the engine of what generates.
    """
    if Queue.EVALUATE in queues and Queue.GENERATE not in queues:
        raise ConfigurationError("A worker of `evaluate` answers with the engine of one of `generate`: add generate.")
    threads = _shards_at_once(settings) + ROUNDS_AT_ONCE if Queue.GENERATE in queues else SCHEDULER_THREADS
    return (
        *_CELERY,
        "worker",
        "--pool=threads",
        f"--concurrency={threads}",
        f"--queues={','.join(_consumed(settings, queues))}",
        f"--hostname={name or queues[0]}@%h",
        "--loglevel=INFO",
        "--without-gossip",
        "--without-mingle",
        "--task-events",
        f"--heartbeat-interval={HEARTBEAT_S}",
    )


def _shards_at_once(settings: Settings) -> int:
    """Enough to fill a large engine twice: one shard's tail overlaps the next one's head."""
    return max(settings.shards_in_flight, 1 + 2 * math.ceil(settings.engine_max_seqs / settings.shard_size))


def _consumed(settings: Settings, queues: Sequence[Queue]) -> Sequence[str]:
    """A generation worker takes what is asked of engines in its own zone with its own model."""
    model = settings.queue_model(settings.served_name)
    own = [queue_name(queue, settings.place, model) for queue in OF_ENGINES]
    return [*(queue for queue in queues if queue not in OF_ENGINES), *(own if Queue.GENERATE in queues else [])]


def flower(settings: Settings, environment: Mapping[str, str] = os.environ) -> Sequence[str]:
    """Flower reads the user and password from FLOWER_BASIC_AUTH.

    Raises:
        ConfigurationError: there is none, so that any web page could drive the workers.
    """
    if not environment.get("FLOWER_BASIC_AUTH"):
        raise ConfigurationError("Flower needs a password: set FLOWER_BASIC_AUTH=user:password.")
    return (*_CELERY, "flower", f"--address={settings.api_host}", f"--port={settings.flower_port}")
