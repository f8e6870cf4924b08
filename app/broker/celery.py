"""Celery as Sprout uses it: queues, early acknowledgement, and messages that are only wake-ups."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from celery import Celery
from celery import Task as CeleryTask
from kombu import entity
from kombu.connection import Connection
from kombu.exceptions import OperationalError

from app.domain.errors import ConfigurationError, DispatchUnavailable, TaskFailed
from app.logs import told
from app.ports import Queue, Task
from app.settings import Settings

log = logging.getLogger(__name__)

SAFE_NAME = r"[A-Za-z0-9._-]{1,64}"
"""Names of models that queues bear as they are."""

URGENT, ORDINARY = 0, 5
"""Of Redis's ten priorities the least number is taken first."""


OF_ENGINES = (Queue.GENERATE, Queue.EVALUATE)
"""Queues whose tasks need an engine, what goes first standing first: each worker takes those of its zone and model."""


def _queue(name: str) -> entity.Queue:
    # An exchange of its own for each queue: a bare Queue("name") can end up bound to another's.
    return entity.Queue(name, entity.Exchange(name), routing_key=name)


def queue_name(queue: Queue, place: str, model: str = "") -> str:
    """The queue as the broker knows it: each zone but the default one, and each model but the installation's own one,
    has one of its own, such as `generate.GB@Qwen2.5-7B-Instruct`."""
    zoned = f"{queue}.{place}" if place else queue
    return f"{zoned}@{_readable(model)}" if model else zoned


def _readable(model: str) -> str:
    """A name that a queue can bear, another one for each model."""
    if re.fullmatch(SAFE_NAME, model):
        return model
    # No name of a model that is borne as it is has a tilde.
    return f"{re.sub(r'[^A-Za-z0-9._-]+', '-', model)[:48]}~{sha256(model.encode()).hexdigest()[:8]}"


class DiscreetTask(CeleryTask):  # type: ignore[misc]  # Celery has no types
    """A task whose failure is told without what it failed on: Celery sends exceptions to the broker, for Flower."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().__call__(*args, **kwargs)
        except Exception as exc:
            log.exception("%s failed", self.name)
            raise TaskFailed(f"{told(exc)}. The worker's log says where.") from None


def celery_app(settings: Settings) -> Celery:
    """Raises ConfigurationError without a broker URL."""
    if settings.broker_url is None:
        raise ConfigurationError("SPROUT_BROKER_URL is not set: name a Redis or Valkey, or run `sprout up`.")
    broker = settings.broker_url.get_secret_value()
    app = Celery("sprout", broker=broker, set_as_current=False, task_cls=DiscreetTask)
    app.conf.update(
        task_queues=[_queue(name) for name in (*Queue, *_further(settings))],
        task_default_queue=Queue.SCHEDULE,
        task_routes={task: {"queue": task.queue} for task in Task},
        # A message is acknowledged before it runs. The lease in PostgreSQL says what is unfinished, and late
        # acknowledgement would let a broker that goes away take the worker with it.
        task_acks_late=False,
        worker_prefetch_multiplier=1,
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        worker_send_task_events=True,
        task_send_sent_event=True,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "queue_order_strategy": "priority",
            "socket_timeout": 10,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
        },
        timezone="UTC",
        enable_utc=True,
    )
    return app


def _further(settings: Settings) -> Sequence[str]:
    """The queues of the other zones, and this process's own if it serves another model."""
    own = settings.queue_model(settings.served_name)
    return [
        *(queue_name(queue, place) for queue in OF_ENGINES for place in settings.places if place),
        *(queue_name(queue, settings.place, own) for queue in OF_ENGINES if own),
    ]


class CeleryDispatcher:
    """Sends tasks by name; knows nothing of the code that runs them."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def send(self, task: Task, argument: str, *, place: str = "", model: str = "", urgent: bool = False) -> None:
        try:
            # One attempt: what could not be sent now is sent by the next reconciliation.
            self._app.send_task(
                task,
                args=(argument,),
                queue=_queue(queue_name(task.queue, place, model)),
                priority=URGENT if urgent else ORDINARY,
                retry=False,
            )
        except (OperationalError, OSError) as exc:
            raise DispatchUnavailable(f"The message broker does not answer: {exc}") from exc

    def depth(self, queue: Queue, *, place: str = "", model: str = "") -> int:
        name = queue_name(queue, place, model)
        try:
            with self._app.pool.acquire(block=True) as connection:
                return _depth(connection, name)
        except (OperationalError, OSError) as exc:
            raise DispatchUnavailable(f"The message broker does not answer: {exc}") from exc


def _depth(connection: Connection, name: str) -> int:
    # What leaves as an exception has the pool close the connection, and to open one takes several times as long as to
    # ask. Redis knows no empty queue: none is there then.
    try:
        return int(connection.default_channel.queue_declare(name, passive=True).message_count)
    except connection.channel_errors:
        return 0
    except connection.connection_errors as exc:
        raise OperationalError(str(exc)) from exc
