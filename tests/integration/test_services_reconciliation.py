from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from app.domain.batch import BatchStatus
from app.domain.completion import Completion, EngineRequest
from app.domain.errors import EngineFailed
from app.ports import Task
from app.services import finalization, generation, reconciliation, validation
from app.services.dispatch import QUEUE_DEPTH
from app.store import batches, results, sharing
from app.store import shards as stored_shards
from app.store.batches import Batch
from tests.support.engine import EchoEngine
from tests.support.factories import a_request, a_result, chat, line, set_cells, store_batch
from tests.support.openai_server import prompt_of
from tests.support.services import Desk, Desks, jsonl
from tests.support.waiting import eventually

POISON = "poison"


def a_batch(desk: Desk, lines: int, ranges: Sequence[tuple[int, int]], poison: int = 0) -> Batch:
    prompts = [POISON if number == poison else f"Say {number}." for number in range(1, lines + 1)]
    entries = [a_request(number, body=chat(prompt)) for number, prompt in enumerate(prompts, 1)]
    with desk.context.database.transaction() as connection:
        return store_batch(connection, lines=entries, ranges=ranges, total=lines)


class Killed(BaseException):
    """What a worker is that nobody hears from again."""


class MortalEngine(EchoEngine):
    """Dies when it meets a poisonous prompt: with the whole worker, or alone."""

    def __init__(self, end: type[BaseException]) -> None:
        self.end = end
        super().__init__(slots=1)

    def generate(
        self, requests: Sequence[EngineRequest], *, timeout_s: float, wait_s: float
    ) -> Generator[Sequence[Completion], None, None]:
        for request in requests:
            if POISON in prompt_of(request.body):
                raise self.end("died")
            with closing(super().generate([request], timeout_s=timeout_s, wait_s=wait_s)) as groups:
                yield from groups


@pytest.mark.parametrize("end", [Killed, EngineFailed])
@pytest.mark.parametrize("poison", [1, 17, 50])
def test_a_line_that_kills_workers_is_the_only_one_lost(desk: Desk, end: type[BaseException], poison: int) -> None:
    batch = a_batch(desk, 50, [(1, 50)], poison)
    deaths = 0
    with closing(MortalEngine(end)) as engine:
        worker = desk.worker(engine)
        while not desk.batch(batch.id).status.is_final:
            reconciliation.reconcile(desk.context)
            try:
                desk.work(worker)
            except end:
                deaths += 1
                assert deaths < 20, "the line is not isolated"
                worker = desk.worker(engine)
            desk.clock.advance(seconds=desk.context.settings.lease_s)
        assert len({request.key for request in engine.requests}) == 49
    ended = desk.batch(batch.id)
    assert (ended.status, ended.completed, ended.failed) == (BatchStatus.COMPLETED, 49, 1)
    (error,) = desk.lines(ended.error_file_id)
    assert error["custom_id"] == f"request-{poison}"
    assert error["error"]["code"] == "poison_request"
    assert error["response"] is None
    said = [
        answer["response"]["body"]["choices"][0]["message"]["content"] for answer in desk.lines(ended.output_file_id)
    ]
    assert said == [f"Say {number}." for number in range(1, 51) if number != poison]


def test_an_engine_that_is_gone_takes_no_further_shard_with_it(desk: Desk) -> None:
    guilty, innocent = a_batch(desk, 1, [(1, 1)], poison=1), a_batch(desk, 1, [(1, 1)])
    reconciliation.reconcile(desk.context)
    with closing(MortalEngine(EngineFailed)) as engine:
        worker = desk.worker(engine)
        with pytest.raises(EngineFailed):
            generation.run_shard(desk.context, worker, f"{guilty.id}:1-1")
        generation.run_shard(desk.context, worker, f"{innocent.id}:1-1")
        assert engine.requests == []
    states = desk.rows("SELECT batch_id, state, losses FROM shards")
    assert (innocent.id, "pending", 0) in states
    desk.dispatcher.take_all()
    reconciliation.reconcile(desk.context)
    assert f"{innocent.id}:1-1" in desk.dispatcher.arguments(Task.GENERATE), "it is rung for only much later"


def lose(desk: Desk, shard: str, *, heard: bool = False) -> None:
    """Lease `shard` with a worker that dies, and find out."""
    with closing(MortalEngine(Killed)) as engine, pytest.raises(Killed):
        generation.run_shard(desk.context, desk.worker(engine), shard)
    if not heard:
        desk.clock.advance(seconds=desk.context.settings.lease_s)
    reconciliation.reconcile(desk.context)


def shards(desk: Desk) -> Sequence[tuple[int, int, str, int]]:
    return desk.rows("SELECT first_line, last_line, state, losses FROM shards ORDER BY first_line, last_line DESC")


def test_a_lease_that_has_not_lapsed_is_left_alone(desk: Desk) -> None:
    batch = a_batch(desk, 4, [(1, 4)], poison=1)
    lose(desk, f"{batch.id}:1-4", heard=True)
    assert shards(desk) == [(1, 4, "leased", 0)]


def test_a_shard_is_tried_again_then_halved(desk: Desk) -> None:
    batch = a_batch(desk, 9, [(1, 9)], poison=1)
    lose(desk, f"{batch.id}:1-9")
    assert shards(desk) == [(1, 9, "pending", 1)]
    assert desk.dispatcher.arguments(Task.GENERATE) == [f"{batch.id}:1-9"]
    lose(desk, f"{batch.id}:1-9")
    assert shards(desk) == [(1, 9, "done", 1), (1, 4, "pending", 2), (5, 9, "pending", 2)]
    halves = desk.rows("SELECT id FROM shards WHERE state = 'pending' ORDER BY first_line")
    assert desk.dispatcher.arguments(Task.GENERATE)[1:] == halves


def test_only_unanswered_lines_are_halved(desk: Desk) -> None:
    """Lines 1 to 5 are answered before the worker dies at 6: four are left, two for each half."""
    batch = a_batch(desk, 9, [(1, 9)], poison=6)
    lose(desk, f"{batch.id}:1-9")
    lose(desk, f"{batch.id}:1-9")
    assert shards(desk) == [(1, 9, "done", 1), (1, 7, "pending", 2), (8, 9, "pending", 2)]
    counts = desk.rows("SELECT completed FROM shards ORDER BY first_line, last_line DESC")
    assert counts == [5, 0, 0]


def test_a_shard_whose_lines_are_all_answered_is_closed(desk: Desk) -> None:
    batch = a_batch(desk, 2, [(1, 2)])
    with desk.context.database.transaction() as connection:
        results.record(connection, [a_result(batch, number) for number in (1, 2)])
        connection.execute(
            text("UPDATE shards SET state = 'leased', lease_id = 'x', lease_expires_at = :now, completed = 2"),
            {"now": desk.clock.now()},
        )
    reconciliation.reconcile(desk.context)
    assert shards(desk) == [(1, 2, "done", 0)]
    assert desk.batch(batch.id).status is BatchStatus.FINALIZING
    assert desk.dispatcher.sent == [(Task.FINALIZE, batch.id)]


def test_ticks_at_once_lose_a_lease_once(desk: Desk) -> None:
    batch = a_batch(desk, 4, [(1, 2), (3, 4)], poison=1)
    with closing(MortalEngine(Killed)) as engine, pytest.raises(Killed):
        generation.run_shard(desk.context, desk.worker(engine), f"{batch.id}:1-2")
    desk.clock.advance(seconds=desk.context.settings.lease_s)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: reconciliation.reconcile(desk.context), range(12)))
    assert shards(desk) == [(1, 2, "pending", 1), (3, 4, "pending", 0)]
    assert sorted(desk.dispatcher.arguments(Task.GENERATE)) == [f"{batch.id}:1-2", f"{batch.id}:3-4"]


def test_a_copy_that_loses_its_worker_ends_and_its_original_is_tried_again(desk: Desk) -> None:
    """Over and over: the ids of what they become must not meet."""
    batch = a_batch(desk, 8, [(1, 8)], poison=1)
    settings, database = desk.context.settings, desk.context.database
    terms = {"place": "", "model": settings.served_name, "at_once": 2, "duration": settings.lease}
    for losses in (1, 2):
        now = desk.clock.now()
        with database.transaction() as connection:
            assert stored_shards.lease(connection, f"{batch.id}:1-8", owner="first", now=now, **terms)
            copy = sharing.copy_slowest(connection, owner="second", now=now, **terms)
            assert (copy is not None) == (losses == 1), "a suspect was copied"
        desk.clock.advance(seconds=settings.lease_s)
        reconciliation.reconcile(desk.context)
        assert shards(desk)[0] == (1, 8, "pending", 1) if losses == 1 else (1, 8, "done", 1)
    assert desk.rows("SELECT id FROM shards WHERE state = 'pending' ORDER BY first_line") == [
        f"{batch.id}:1-4~2",
        f"{batch.id}:5-8~2",
    ]


def test_expiry_keeps_what_was_finished(desk: Desk, engine: EchoEngine) -> None:
    batch = a_batch(desk, 6, [(1, 3), (4, 6)])
    worker = desk.worker(engine)
    desk.run_beside_others(worker, f"{batch.id}:1-3")
    desk.clock.moment = batch.expires_at
    reconciliation.reconcile(desk.context)
    assert desk.batch(batch.id).status is BatchStatus.FINALIZING
    assert {state for _, _, state, _ in shards(desk)} == {"done"}
    desk.work(worker)
    ended = desk.batch(batch.id)
    assert (ended.status, ended.completed, ended.failed) == (BatchStatus.EXPIRED, 3, 3)
    assert ended.expired_at == desk.clock.now()
    assert ended.completed_at is None
    assert [answer["custom_id"] for answer in desk.lines(ended.output_file_id)] == [f"request-{n}" for n in (1, 2, 3)]
    errors = desk.lines(ended.error_file_id)
    assert [error["custom_id"] for error in errors] == [f"request-{n}" for n in (4, 5, 6)]
    assert {error["error"]["code"] for error in errors} == {"batch_expired"}
    assert len(engine.requests) == 3


def test_a_batch_has_time_until_its_window_closes(desk: Desk) -> None:
    batch = a_batch(desk, 1, [(1, 1)])
    desk.clock.moment = batch.expires_at - timedelta(microseconds=1)
    reconciliation.reconcile(desk.context)
    assert desk.batch(batch.id).status is BatchStatus.IN_PROGRESS


def test_a_batch_that_expires_before_its_validation(desk: Desk) -> None:
    batch_id = desk.submit(jsonl([line()]), completion_window="1h")
    desk.clock.advance(hours=1)
    reconciliation.reconcile(desk.context)
    ended = desk.batch(batch_id)
    assert (ended.status, ended.output_file_id, ended.error_file_id) == (BatchStatus.EXPIRED, None, None)
    validation.validate(desk.context, batch_id)
    assert desk.batch(batch_id) == ended


def test_a_batch_that_ends_as_it_expires_keeps_its_answers(desk: Desk, engine: EchoEngine) -> None:
    """Reconciliation finds it overdue while its worker, a moment earlier, has moved it to finalizing."""
    batch = a_batch(desk, 2, [(1, 2)])
    generation.run_shard(desk.context, desk.worker(engine), f"{batch.id}:1-2")
    with desk.context.database.transaction() as connection:
        set_cells(connection, batch.id, status=BatchStatus.IN_PROGRESS, finalizing_at=None)
        connection.execute(text("UPDATE shards SET state = 'pending'"))
    desk.clock.moment = batch.expires_at
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with ThreadPoolExecutor(1) as pool:
        with desk.context.database.transaction() as connection:
            batches.move(connection, batch.id, BatchStatus.FINALIZING, desk.clock.now())
            tick = pool.submit(reconciliation.reconcile, desk.context)
            eventually(lambda: tick.done() or desk.rows(waiting) == [1])
        tick.result()
    assert desk.batch(batch.id).status is BatchStatus.FINALIZING
    finalization.finalize(desk.context, batch.id)
    assert desk.batch(batch.id).status is BatchStatus.COMPLETED


def test_what_a_broken_broker_lost_is_rung_again(desk: Desk, engine: EchoEngine) -> None:
    resend = desk.context.settings.resend_s
    desk.dispatcher.away = True
    batch_id = desk.submit(jsonl([line()]))
    desk.clock.advance(seconds=resend + 1)
    reconciliation.reconcile(desk.context)
    desk.dispatcher.away = False
    desk.clock.advance(seconds=resend + 1)
    reconciliation.reconcile(desk.context)
    assert desk.dispatcher.take_all() == [(Task.VALIDATE, batch_id)]

    desk.dispatcher.away = True
    validation.validate(desk.context, batch_id)
    reconciliation.reconcile(desk.context)
    desk.dispatcher.away = False
    reconciliation.reconcile(desk.context)
    ((task, shard),) = desk.dispatcher.take_all()
    assert task is Task.GENERATE

    desk.dispatcher.away = True
    generation.run_shard(desk.context, desk.worker(engine), shard)
    assert desk.batch(batch_id).status is BatchStatus.FINALIZING
    desk.dispatcher.away = False
    desk.clock.advance(seconds=resend + 1)
    reconciliation.reconcile(desk.context)
    assert desk.dispatcher.take_all() == [(Task.FINALIZE, batch_id)]


def test_a_broker_that_goes_away_between_two_messages(desks: Desks, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = desks.desk(shard_size=1)
    send = desk.dispatcher.send

    def send_two(task: Task, argument: str, **terms: Any) -> None:
        desk.dispatcher.away = desk.dispatcher.away or len(desk.dispatcher.arguments(Task.GENERATE)) == 2
        send(task, argument, **terms)

    monkeypatch.setattr(desk.dispatcher, "send", send_two)
    desk.validated(jsonl(line(f"r{number}") for number in range(5)))
    monkeypatch.undo()
    desk.dispatcher.away = False
    assert desk.rows("SELECT count(sent_at) FROM shards") == [2]
    reconciliation.reconcile(desk.context)
    assert desk.dispatcher.arguments(Task.GENERATE) == desk.rows("SELECT id FROM shards ORDER BY first_line")


@pytest.mark.parametrize(
    ("status", "task"),
    [
        (BatchStatus.VALIDATING, Task.VALIDATE),
        (BatchStatus.FINALIZING, Task.FINALIZE),
        (BatchStatus.CANCELLING, Task.FINALIZE),
    ],
)
def test_a_batch_that_is_stuck_is_rung_for_now_and_then(desk: Desk, status: BatchStatus, task: Task) -> None:
    with desk.context.database.transaction() as connection:
        batch = store_batch(connection, status=status, sent_at=desk.clock.now())
    resend = desk.context.settings.resend_s
    rung = []
    for _ in range(4):
        reconciliation.reconcile(desk.context)
        rung.append(len(desk.dispatcher.take_all()))
        desk.clock.advance(seconds=resend / 2 + 1)
    assert rung == [0, 0, 1, 0]
    reconciliation.reconcile(desk.context)
    assert desk.dispatcher.sent == [(task, batch.id)]


@pytest.mark.parametrize(
    "status", [BatchStatus.FAILED, BatchStatus.COMPLETED, BatchStatus.EXPIRED, BatchStatus.CANCELLED]
)
def test_what_has_ended_is_left_alone(desk: Desk, status: BatchStatus) -> None:
    with desk.context.database.transaction() as connection:
        done = {"completed_at": desk.clock.now()} if status is BatchStatus.COMPLETED else {}
        batch = store_batch(connection, status=status, **done)
    desk.clock.advance(days=30)
    reconciliation.reconcile(desk.context)
    assert desk.batch(batch.id) == batch
    assert desk.dispatcher.sent == []


def test_the_broker_holds_few_shards_at_a_time(desks: Desks) -> None:
    desk = desks.desk(shard_size=1)
    desk.validated(jsonl(line(f"r{number}") for number in range(QUEUE_DEPTH + 5)))
    first = desk.dispatcher.arguments(Task.GENERATE)
    assert len(first) == QUEUE_DEPTH
    reconciliation.reconcile(desk.context)
    assert desk.dispatcher.arguments(Task.GENERATE) == first
    desk.dispatcher.take_all()
    reconciliation.reconcile(desk.context)
    rest = desk.dispatcher.arguments(Task.GENERATE)
    assert (len(rest), len({*first, *rest})) == (5, QUEUE_DEPTH + 5)


def test_a_worker_rings_when_half_of_the_queue_has_gone(desks: Desks, engine: EchoEngine) -> None:
    desk = desks.desk(shard_size=1)
    desk.validated(jsonl(line(f"r{number}") for number in range(2 * QUEUE_DEPTH)))
    worker, depths = desk.worker(engine), []
    for _ in range(QUEUE_DEPTH):
        message = next(sent for sent in desk.dispatcher.sent if sent[0] is Task.GENERATE)
        desk.dispatcher.sent.remove(message)
        desk.run_beside_others(worker, message[1])
        depths.append(len(desk.dispatcher.arguments(Task.GENERATE)))
    assert depths == 2 * [*range(QUEUE_DEPTH - 1, QUEUE_DEPTH // 2, -1), QUEUE_DEPTH]


def test_a_tick_beside_running_workers_disturbs_nothing(desks: Desks, engine: EchoEngine) -> None:
    desk = desks.desk(shard_size=5)
    batch = desk.validated(jsonl(line(f"r{number}") for number in range(60)))
    worker, stop = desk.worker(engine), threading.Event()

    def tick() -> None:
        while not stop.is_set():
            reconciliation.reconcile(desk.context)

    with ThreadPoolExecutor(4) as pool:
        ticking = pool.submit(tick)
        list(
            pool.map(
                lambda shard: generation.run_shard(desk.context, worker, shard),
                desk.dispatcher.arguments(Task.GENERATE),
            )
        )
        stop.set()
        ticking.result()
    desk.work(worker)
    ended = desk.batch(batch.id)
    assert (ended.status, ended.completed, ended.failed) == (BatchStatus.COMPLETED, 60, 0)
    assert len(engine.requests) == 60
