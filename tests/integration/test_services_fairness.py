"""Tenants share the devices: in which order their shards are rung for and leased, and how long a newcomer waits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Connection, text

from app.domain.batch import BatchStatus
from app.domain.completion import Completion, EngineRequest
from app.domain.shard import LOSSES_BEFORE_HALVING
from app.domain.tenant import Limits
from app.ports import Queue, Task
from app.services import batches, files, finalization, generation, reconciliation, tenants, validation
from app.services.context import SystemClock
from app.services.dispatch import QUEUE_DEPTH, ring_for_shards
from app.services.generation import Worker
from app.services.leasing import whose_turn
from app.store import turns, usage
from app.store.batches import Batch
from app.store.database import TENANT
from tests.support.clock import NOON
from tests.support.engine import EchoEngine
from tests.support.factories import ENDPOINT, MODEL, a_result, chat, line, shard_id, store_batch, take
from tests.support.services import Desk, Desks, jsonl
from tests.support.waiting import eventually

TEN = [(1, 10), (11, 20), (21, 30)]


def add_tenant(desk: Desk, name: str = "other", weight: float = 1.0) -> None:
    tenants.add(desk.context.database, desk.clock, name, weight=weight, allowed=Limits())


def used(connection: Connection, tenant: str, device_s: float, requests: int = 1) -> None:
    """So many device-seconds a request, just now."""
    batch = store_batch(connection, tenant_id=tenant, status=BatchStatus.COMPLETED, completed_at=NOON)
    results = [a_result(batch, number, device_s=device_s) for number in range(1, requests + 1)]
    usage.add(connection, tenant, results, NOON)


def order(connection: Connection, limit: int = 100) -> list[str]:
    """In which order shards are rung for."""
    return [found.id for found in turns.waiting(connection, model=MODEL, limit=limit, now=NOON, resend=None)]


@pytest.fixture
def both(desk: Desk) -> Iterator[tuple[Connection, Batch, Batch]]:
    """A batch of three shards of each of two tenants, the default one's first."""
    add_tenant(desk)
    with desk.context.database.transaction() as connection:
        mine = store_batch(connection, lines=30, ranges=TEN, created_at=NOON - timedelta(seconds=1))
        theirs = store_batch(connection, lines=30, ranges=TEN, tenant_id="other")
        yield connection, mine, theirs


def test_tenants_take_turns(both: tuple[Connection, Batch, Batch]) -> None:
    connection, mine, theirs = both
    assert order(connection) == [shard_id(batch, *ten) for ten in TEN for batch in (mine, theirs)]


def test_a_heavier_tenant_has_more_turns(both: tuple[Connection, Batch, Batch]) -> None:
    connection, mine, theirs = both
    connection.execute(text("UPDATE tenants SET weight = 2.5 WHERE id = 'other'"))
    # Tags: 0, 10, 20 against 0, 4, 8.
    turn = [(mine, 0), (theirs, 0), (theirs, 1), (theirs, 2), (mine, 1), (mine, 2)]
    assert order(connection) == [shard_id(batch, *TEN[number]) for batch, number in turn]


def test_who_has_used_least_goes_next_until_that_fades(both: tuple[Connection, Batch, Batch]) -> None:
    connection, mine, theirs = both
    used(connection, TENANT, 3.0, requests=5)
    used(connection, "other", 1.0)
    # 15, 45, 75 against 1, 11, 21.
    turn = [(theirs, 0), (theirs, 1), (mine, 0), (theirs, 2), (mine, 1), (mine, 2)]
    assert order(connection) == [shard_id(batch, *TEN[number]) for batch, number in turn]
    later = NOON + timedelta(seconds=2 * usage.HALF_LIFE_S)
    found = turns.waiting(connection, model=MODEL, limit=9, now=later, resend=None)
    # 3.75, 33.75, 63.75 against 0.25, 10.25, 20.25.
    assert [each.id for each in found][:3] == [shard_id(theirs, 1, 10), shard_id(mine, 1, 10), shard_id(theirs, 11, 20)]


def test_what_runs_counts_before_it_has_answered(both: tuple[Connection, Batch, Batch]) -> None:
    connection, mine, theirs = both
    take(connection, shard_id(mine, 1, 10))
    turn = [(theirs, 0), (theirs, 1), (mine, 1), (theirs, 2), (mine, 2)]
    found = order(connection)
    assert found[0] == shard_id(theirs, 1, 10)
    assert sorted(found) == sorted(shard_id(batch, *TEN[number]) for batch, number in turn)


def test_short_windows_put_nobody_before_another_tenant(both: tuple[Connection, Batch, Batch]) -> None:
    connection, mine, theirs = both
    connection.execute(text("UPDATE shards SET start_by = :now WHERE batch_id = :id"), {"now": NOON, "id": mine.id})
    used(connection, TENANT, 10.0)
    used(connection, "other", 1.0)
    assert order(connection, 1) == [shard_id(theirs, 1, 10)]


def test_the_bell_is_answered_by_whose_turn_it_is(both: tuple[Connection, Batch, Batch]) -> None:
    connection, mine, theirs = both

    def instead(shard: str) -> str | None:
        return turns.instead_of(connection, shard, place="", model=MODEL, now=NOON)

    used(connection, TENANT, 1.0)
    assert instead(shard_id(mine, 1, 10)) == shard_id(theirs, 1, 10)
    assert instead(shard_id(theirs, 11, 20)) is None
    assert instead("gone") == shard_id(theirs, 1, 10)
    connection.execute(text("UPDATE tenants SET hold = 'used up' WHERE id = 'other'"))
    assert instead(shard_id(mine, 1, 10)) is None
    assert instead(shard_id(theirs, 1, 10)) == shard_id(mine, 1, 10)


def test_a_suspect_whose_turn_it_is_runs_alone(desk: Desk) -> None:
    add_tenant(desk)
    with desk.context.database.transaction() as connection:
        used(connection, TENANT, 1.0)
        mine = shard_id(store_batch(connection, lines=1, ranges=[(1, 1)]), 1, 1)
        theirs = shard_id(store_batch(connection, lines=1, ranges=[(1, 1)], tenant_id="other"), 1, 1)
    assert whose_turn(desk.context, mine) == (theirs, False)
    for suspect, alone in ((mine, False), (theirs, True)):
        with desk.context.database.transaction() as connection:
            connection.execute(
                text("UPDATE shards SET losses = CASE WHEN id = :id THEN :losses ELSE 0 END"),
                {"id": suspect, "losses": LOSSES_BEFORE_HALVING},
            )
        assert whose_turn(desk.context, mine) == (theirs, alone)
        assert whose_turn(desk.context, theirs) == (theirs, alone)


def test_a_newcomer_is_served_next_though_the_queue_is_full_of_anothers(desk: Desk, engine: EchoEngine) -> None:
    add_tenant(desk)
    ranges = [(number, number) for number in range(1, 2 * QUEUE_DEPTH + 1)]
    with desk.context.database.transaction() as connection:
        store_batch(connection, lines=len(ranges), ranges=ranges)
    ring_for_shards(desk.context)
    rung = desk.dispatcher.arguments(Task.GENERATE)
    assert len(rung) == QUEUE_DEPTH
    worker = desk.worker(engine)
    desk.dispatcher.sent.pop(0)
    desk.run_beside_others(worker, rung[0])
    with desk.context.database.transaction() as connection:
        used(connection, TENANT, 1.0)
        theirs = store_batch(connection, lines=1, ranges=[(1, 1)], tenant_id="other")
    desk.dispatcher.sent.pop(0)
    desk.run_beside_others(worker, rung[1])
    assert desk.rows("SELECT batch_id FROM results WHERE tenant_id = 'other'") == [theirs.id]
    # What the bell had rung for is not forgotten: it rings again when half of the queue has gone.
    assert desk.rows("SELECT state FROM shards WHERE id = :id AND sent_at IS NULL", id=rung[1]) == ["pending"]
    while rung[1] not in desk.dispatcher.arguments(Task.GENERATE):
        assert len(desk.dispatcher.sent) > QUEUE_DEPTH // 2
        desk.run_beside_others(worker, desk.dispatcher.sent.pop(0)[1])
    desk.run_beside_others(worker, rung[1])
    assert desk.rows("SELECT state FROM shards WHERE id = :id", id=rung[1]) == ["done"]


class Slow(EchoEngine):
    """Takes a while over each answer."""

    def __init__(self, *, slots: int, pause_s: float) -> None:
        self._pause_s = pause_s
        super().__init__(slots=slots)

    async def answer(self, request: EngineRequest, timeout_s: float) -> Completion:
        await asyncio.sleep(self._pause_s)
        return await super().answer(request, timeout_s)


def in_real_time(desk: Desk) -> Desk:
    """Device-seconds are those of the clock."""
    return replace(desk, context=replace(desk.context, clock=SystemClock()))


def submit(desk: Desk, tenant: str, requests: int) -> str:
    content = jsonl(line(f"r{number}", body=chat(f"Say {number}.")) for number in range(requests))
    file = files.upload(desk.context, tenant, chunks=[content], describe=lambda: files.Described("in.jsonl", "batch"))
    batch = batches.create(
        desk.context, tenant, input_file_id=file.id, endpoint=ENDPOINT, completion_window="24h", metadata=None
    )
    return batch.id


@contextmanager
def workers(desk: Desk, worker: Worker) -> Iterator[None]:
    """A generator and a scheduler that take their messages in the order of their queues, several at a time."""
    ended, lock = threading.Event(), threading.Lock()

    def next_of(queue: Queue) -> tuple[Task, str] | None:
        with lock:
            found = next((message for message in desk.dispatcher.sent if message[0].queue is queue), None)
            if found is not None:
                desk.dispatcher.sent.remove(found)
            return found

    def take_and_run(queue: Queue) -> None:
        while not ended.is_set():
            match next_of(queue):
                case None:
                    ended.wait(0.005)
                case (Task.VALIDATE, batch_id):
                    validation.validate(desk.context, batch_id)
                case (Task.GENERATE, shard):
                    generation.run_shard(desk.context, worker, shard)
                case (Task.FINALIZE, batch_id):
                    finalization.finalize(desk.context, batch_id)

    threads = [Queue.GENERATE] * 4 + [Queue.SCHEDULE] * 2
    with ThreadPoolExecutor(len(threads)) as pool:
        running = [pool.submit(take_and_run, queue) for queue in threads]
        try:
            yield
        finally:
            ended.set()
            worker.stopping.set()
        for each in running:
            each.result()


def test_a_small_batch_beside_thousands_of_anothers_lines(desks: Desks, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it runs, the other tenant gets fewer answers than it: it takes less than twice the time that it takes
    alone, however fast the machine is."""
    monkeypatch.setattr(generation, "GROUP_S", 0.1)
    desk = in_real_time(desks.desk(engine_max_seqs=16, shard_size=64))
    add_tenant(desk)

    def answers(batch_id: str) -> int:
        (number,) = desk.rows("SELECT count(*) FROM results WHERE batch_id = :id", id=batch_id)
        return int(number)

    with workers(desk, desk.worker(Slow(slots=16, pause_s=0.2))):
        backlog = submit(desk, TENANT, 3000)
        eventually(lambda: answers(backlog) > 50, within_s=30)
        small = submit(desk, "other", 100)
        eventually(lambda: desk.rows("SELECT 1 FROM shards WHERE batch_id = :id", id=small), within_s=30)
        before = answers(backlog)
        eventually(lambda: answers(small) == 100, within_s=60)
        meanwhile = answers(backlog) - before
    assert meanwhile < 100
    assert before + meanwhile < 2900, "there was a backlog to the end"


def test_two_backlogs_share_by_weight(desks: Desks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "GROUP_S", 0.1)
    desk = in_real_time(desks.desk(engine_max_seqs=16, shard_size=16))
    add_tenant(desk, weight=3.0)
    for tenant in (TENANT, "other"):
        submit(desk, tenant, 2000)
    counts: Sequence[tuple[str, int]] = ()
    with workers(desk, desk.worker(Slow(slots=16, pause_s=0.02))):
        shares = "SELECT tenant_id, count(*) FROM results GROUP BY 1 ORDER BY 1"
        eventually(lambda: sum(number for _, number in desk.rows(shares)) > 1200, within_s=30)
        counts = desk.rows(shares)
    of = dict(counts)
    assert 2.0 < of["other"] / of[TENANT] < 4.5, counts


def test_a_tick_lets_the_held_go_on(desk: Desk, engine: EchoEngine) -> None:
    add_tenant(desk)
    submit(desk, "other", 2)
    tenants.disable(desk.context.database, desk.clock, "other")
    desk.work(desk.worker(engine))
    assert desk.rows("SELECT count(*) FROM results") == [0]
    tenants.disable(desk.context.database, desk.clock, "other", is_disabled=False)
    reconciliation.reconcile(desk.context)
    desk.work(desk.worker(engine))
    assert desk.rows("SELECT count(*) FROM results") == [2]
