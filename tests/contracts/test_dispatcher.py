"""What every bell promises, and what Celery's does on a real broker."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from kombu import pools
from pydantic import SecretStr

from app.broker.celery import CeleryDispatcher, celery_app, queue_name
from app.domain.errors import ConfigurationError, DispatchUnavailable
from app.embedded.valkey import EmbeddedValkey
from app.ports import Dispatcher, Queue, Task
from app.settings import Settings
from tests.support.dispatcher import RecordingDispatcher
from tests.support.embedded import temporary_home


@contextmanager
def celery_on(url: str, zones: tuple[str, ...] = ("WORLD",)) -> Iterator[Celery]:
    app = celery_app(Settings(broker_url=SecretStr(url), zone=zones[0], zones=zones))
    yield app
    app.close()
    pools.reset()  # kombu shares connections between applications of one broker


@dataclass(frozen=True)
class Case:
    dispatcher: Dispatcher
    take: Callable[..., tuple[str, str]]
    """The oldest message of a queue, and of that of a `place` and a `model`: the name of its task and its argument."""


@pytest.fixture(params=["recording", "celery"])
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    if request.param == "recording":
        yield recording()
        return
    with celery_on(request.getfixturevalue("broker_url"), ("WORLD", "B", "C-1")) as app:
        yield Case(CeleryDispatcher(app), lambda queue, place="", model="": taken(app, queue_name(queue, place, model)))


def recording() -> Case:
    dispatcher = RecordingDispatcher()

    def take(queue: Queue, place: str = "", model: str = "") -> tuple[str, str]:
        name = f"{place}@{model}" if model else place
        waiting = dispatcher.elsewhere[name] if name else dispatcher.sent
        message = next(sent for sent in waiting if sent[0].queue is queue)
        waiting.remove(message)
        return message

    return Case(dispatcher, take)


def taken(app: Celery, queue: str) -> tuple[str, str]:
    message = next_message(app, queue)
    (argument,) = message.payload[0]
    return message.headers["task"], argument


def next_message(app: Celery, queue: str) -> Any:
    with app.connection_for_read() as connection:
        message = connection.default_channel.basic_get(queue, no_ack=True)
        assert message is not None, f"{queue} is empty"
        return message


def depths(case: Case) -> dict[Queue, int]:
    return {queue: case.dispatcher.depth(queue) for queue in Queue}


def test_before_the_first_message_every_queue_is_empty(case: Case) -> None:
    assert depths(case) == {Queue.SCHEDULE: 0, Queue.GENERATE: 0, Queue.EVALUATE: 0}


@pytest.mark.parametrize("task", Task)
def test_a_task_waits_in_its_own_queue(case: Case, task: Task) -> None:
    case.dispatcher.send(task, "batch_1:1-64")
    assert depths(case) == {queue: int(queue is task.queue) for queue in Queue}
    assert case.take(task.queue) == (task, "batch_1:1-64")
    assert case.dispatcher.depth(task.queue) == 0


def test_messages_wait_in_the_order_in_which_they_were_sent(case: Case) -> None:
    arguments = [f"batch_ä:{number}-{number}~2" for number in (3, 1, 2)]
    for argument in arguments:
        case.dispatcher.send(Task.GENERATE, argument)
    assert [case.take(Queue.GENERATE)[1] for _ in arguments] == arguments


def test_a_message_that_is_sent_twice_waits_twice(case: Case) -> None:
    for _ in range(2):
        case.dispatcher.send(Task.FINALIZE, "batch_1")
    assert case.dispatcher.depth(Queue.SCHEDULE) == 2


def test_every_zone_has_a_queue_of_its_own(case: Case) -> None:
    for number, place in enumerate(("", "B", "C-1", "B")):
        case.dispatcher.send(Task.GENERATE, f"shard-{number}", place=place)
    assert [case.dispatcher.depth(Queue.GENERATE, place=place) for place in ("", "B", "C-1")] == [1, 2, 1]
    assert case.take(Queue.GENERATE, "B") == (Task.GENERATE, "shard-1")
    assert case.take(Queue.GENERATE, "C-1") == (Task.GENERATE, "shard-2")
    assert case.take(Queue.GENERATE) == (Task.GENERATE, "shard-0")
    assert [case.dispatcher.depth(Queue.GENERATE, place=place) for place in ("", "B", "C-1")] == [0, 1, 0]


def test_a_zone_without_messages_has_an_empty_queue(case: Case) -> None:
    assert [case.dispatcher.depth(Queue.GENERATE, place=place) for place in ("B", "C-1")] == [0, 0]


NAMES = ("b", "B", "org/b", "org-b", "org/b~", "b,c", "b c", "ü" * 300, "ü" * 301, "B@b", "b" * 64, "b" * 65)
"""Of models: whatever a client may write."""


def test_every_model_has_a_queue_of_its_own_in_every_zone(case: Case) -> None:
    sites = [(place, model) for place in ("", "B") for model in ("", *NAMES)]
    for number, (place, model) in enumerate(sites):
        case.dispatcher.send(Task.GENERATE, f"shard-{number}", place=place, model=model)
    for number, (place, model) in enumerate(sites):
        assert case.dispatcher.depth(Queue.GENERATE, place=place, model=model) == 1
        assert case.take(Queue.GENERATE, place, model) == (Task.GENERATE, f"shard-{number}")
        assert case.dispatcher.depth(Queue.GENERATE, place=place, model=model) == 0


def test_queues_stay_readable() -> None:
    assert queue_name(Queue.GENERATE, "GB", "Qwen2.5-7B-Instruct") == "generate.GB@Qwen2.5-7B-Instruct"
    assert re.fullmatch(r"generate@Qwen-Qwen2\.5-7B~[0-9a-f]{8}", queue_name(Queue.GENERATE, "", "Qwen/Qwen2.5-7B"))
    assert all(re.fullmatch(r"[\w.~@-]{1,140}", queue_name(Queue.GENERATE, "B", name), re.ASCII) for name in NAMES)


def test_several_threads_may_ring_at_once(case: Case) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: case.dispatcher.send(Task.GENERATE, str(number)), range(80)))
    assert case.dispatcher.depth(Queue.GENERATE) == 80
    assert {case.take(Queue.GENERATE)[1] for _ in range(80)} == {str(number) for number in range(80)}


def test_only_generation_has_the_generate_queue() -> None:
    assert [task for task in Task if task.queue is Queue.GENERATE] == [Task.GENERATE]


def test_a_recording_bell_that_is_away_says_so_and_forgets_nothing() -> None:
    dispatcher = RecordingDispatcher()
    dispatcher.send(Task.VALIDATE, "batch_1")
    dispatcher.away = True
    with pytest.raises(DispatchUnavailable):
        dispatcher.send(Task.VALIDATE, "batch_2")
    with pytest.raises(DispatchUnavailable):
        dispatcher.depth(Queue.SCHEDULE)
    dispatcher.away = False
    assert dispatcher.arguments(Task.VALIDATE) == ["batch_1"]
    assert dispatcher.take_all() == [(Task.VALIDATE, "batch_1")]
    assert dispatcher.depth(Queue.SCHEDULE) == 0


def unavailable_within(seconds: float, ask: Callable[[], object]) -> None:
    began = time.monotonic()
    with pytest.raises(DispatchUnavailable, match="The message broker does not answer: "):
        ask()
    assert time.monotonic() - began < seconds


def test_a_broker_that_is_away_is_reported_soon_and_used_again_when_it_is_back(tmp_path: Path) -> None:
    with temporary_home() as home:
        broker = EmbeddedValkey(home)
        nowhere = f"redis+socket://:pw@{tmp_path}/no.sock?virtual_host=0"
        with celery_on(broker.start()) as app, celery_on(nowhere) as never:
            bells = [CeleryDispatcher(app), CeleryDispatcher(never)]
            try:
                bells[0].send(Task.GENERATE, "kept")
                broker.stop()
                asks = [lambda bell=bell: bell.send(Task.GENERATE, "lost") for bell in bells]
                asks += [lambda bell=bell: bell.depth(Queue.GENERATE) for bell in bells]
                with ThreadPoolExecutor(len(asks)) as pool:
                    list(pool.map(lambda ask: unavailable_within(12, ask), asks))
                broker.start()
                assert bells[0].depth(Queue.GENERATE) == 1
                bells[0].send(Task.GENERATE, "sent")
                assert bells[0].depth(Queue.GENERATE) == 2
            finally:
                broker.stop()


def test_to_ask_how_many_wait_opens_no_connection(broker_url: str) -> None:
    with celery_on(broker_url) as app:
        bell = CeleryDispatcher(app)
        with app.connection_for_read() as connection:
            client = connection.default_channel.client

            def opened() -> int:
                return int(client.info("stats")["total_connections_received"])

            assert bell.depth(Queue.GENERATE) == 0
            before = opened()
            bell.send(Task.GENERATE, "a")
            assert (bell.depth(Queue.GENERATE), bell.depth(Queue.EVALUATE)) == (1, 0)
            assert opened() == before


def test_a_message_is_the_name_of_a_task_and_one_id(broker_url: str) -> None:
    with celery_on(broker_url) as app:
        CeleryDispatcher(app).send(Task.VALIDATE, "batch_1")
        message = next_message(app, Queue.SCHEDULE)
    assert message.content_type == "application/json"
    assert message.headers["task"] == "sprout.validate"
    assert message.headers["eta"] is message.headers["expires"] is None
    arguments, keywords, _ = message.payload
    assert (arguments, keywords) == (["batch_1"], {})


def test_messages_are_acknowledged_before_they_run(broker_url: str) -> None:
    with celery_on(broker_url) as app:
        assert app.conf.task_acks_late is False
        assert app.conf.worker_prefetch_multiplier == 1
        assert app.conf.accept_content == ["json"]
        assert {queue.name: (queue.exchange.name, queue.routing_key) for queue in app.conf.task_queues} == {
            queue: (queue, queue) for queue in Queue
        }


def test_zones_but_the_default_one_are_known_to_celery(broker_url: str) -> None:
    with celery_on(broker_url, ("A", "B")) as app:
        assert {queue.name for queue in app.conf.task_queues} == {*Queue, "generate.B", "evaluate.B"}


def test_without_a_broker_there_is_a_remedy() -> None:
    with pytest.raises(ConfigurationError, match=r"SPROUT_BROKER_URL is not set: .*sprout up"):
        celery_app(Settings(broker_url=None))


def test_what_is_urgent_overtakes(case: Case) -> None:
    for name, urgent in (("a", False), ("b", False), ("c", True), ("d", True)):
        case.dispatcher.send(Task.GENERATE, name, urgent=urgent)
    assert case.dispatcher.depth(Queue.GENERATE) == 4
    assert [case.take(Queue.GENERATE)[1] for _ in range(4)] == ["c", "d", "a", "b"]
