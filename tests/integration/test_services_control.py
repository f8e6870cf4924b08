"""Pausing, retrying, creating once, and going first: what a user does with batches that are there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from app.domain.batch import BatchStatus
from app.domain.errors import Conflict, InvalidInput, NotFound
from app.ports import Task
from app.services import (
    batches,
    deferral,
    files,
    finalization,
    generation,
    idempotency,
    pausing,
    reconciliation,
    retrying,
)
from app.services.dispatch import QUEUE_DEPTH
from app.store import sharing
from app.store.batches import Batch
from app.store.database import TENANT
from tests.support.engine import EchoEngine
from tests.support.factories import ENDPOINT, MODEL, line, set_cells, store_batch
from tests.support.openai_server import HANG
from tests.support.services import Desk, Desks, jsonl
from tests.support.waiting import eventually


def lines(number: int, name: str = "r", **options: Any) -> bytes:
    return jsonl(line(f"{name}{index}", **options) for index in range(number))


def state(desk: Desk, batch: Batch) -> BatchStatus:
    return desk.batch(batch.id).status


def custom_ids(desk: Desk, file_id: str | None) -> list[str]:
    return [entry["custom_id"] for entry in desk.lines(file_id)]


# Pausing


@pytest.fixture
def small(desks: Desks) -> Desk:
    """Shards of two requests."""
    return desks.desk(shard_size=2)


def test_of_a_paused_batch_nothing_more_is_leased(small: Desk, engine: EchoEngine) -> None:
    desk = small
    batch, other = desk.validated(lines(4)), desk.validated(lines(2, "other"))
    paused, _ = pausing.pause(desk.context, TENANT, batch.id, "the machine is needed")
    assert (paused.status, paused.pause_reason) == (BatchStatus.IN_PROGRESS, "the machine is needed")
    desk.work(desk.worker(engine))
    assert state(desk, other) is BatchStatus.COMPLETED
    desk.clock.advance(seconds=120)
    reconciliation.reconcile(desk.context)
    deferral.replan(desk.context)
    assert desk.dispatcher.sent == []
    with desk.context.database.transaction() as connection:
        left = sharing.left(connection, place="", model=MODEL, owner="w", now=desk.clock.now())
        assert left == (0, 0)
        assert not sharing.is_waiting(connection, place="", model=MODEL, now=desk.clock.now())
    # Again, and with another reason: the first one stays.
    assert pausing.pause(desk.context, TENANT, batch.id, "again")[0] == desk.batch(batch.id)
    assert desk.batch(batch.id).pause_reason == "the machine is needed"
    for _ in range(2):
        resumed, _ = pausing.resume(desk.context, TENANT, batch.id)
        assert (resumed.paused_at, resumed.pause_reason) == (None, None)
    desk.work(desk.worker(engine))
    assert state(desk, batch) is BatchStatus.COMPLETED
    assert len(engine.requests) == 6


def test_what_runs_when_it_is_paused_ends_and_the_rest_waits(small: Desk) -> None:
    desk = small
    batch = desk.validated(lines(4))
    engine = EchoEngine()
    engine.on_request = lambda _: pausing.pause(desk.context, TENANT, batch.id) and None
    desk.work(desk.worker(engine))
    engine.close()
    assert [request.key.split("/")[1] for request in engine.requests] == ["1", "2"]
    assert batches.get(desk.context, TENANT, batch.id)[1].completed == 2
    assert state(desk, batch) is BatchStatus.IN_PROGRESS


def test_a_batch_that_is_paused_before_it_is_validated(desk: Desk, engine: EchoEngine) -> None:
    batch_id = desk.submit(lines(2))
    pausing.pause(desk.context, TENANT, batch_id)
    desk.work(desk.worker(engine))
    assert desk.batch(batch_id).status is BatchStatus.IN_PROGRESS
    assert engine.requests == []
    pausing.resume(desk.context, TENANT, batch_id)
    desk.work(desk.worker(engine))
    assert desk.batch(batch_id).status is BatchStatus.COMPLETED


def test_the_window_of_a_paused_batch_goes_on_and_what_was_finished_is_kept(small: Desk, engine: EchoEngine) -> None:
    desk = small
    batch = desk.validated(lines(4))
    desk.run_beside_others(desk.worker(engine), desk.dispatcher.arguments(Task.GENERATE)[0])
    pausing.pause(desk.context, TENANT, batch.id)
    desk.clock.advance(hours=24)
    reconciliation.reconcile(desk.context)
    desk.work(desk.worker(engine))
    ended = desk.batch(batch.id)
    assert ended.status is BatchStatus.EXPIRED
    assert custom_ids(desk, ended.output_file_id) == ["r0", "r1"]
    assert {entry["error"]["code"] for entry in desk.lines(ended.error_file_id)} == {"batch_expired"}


def test_a_paused_batch_can_be_cancelled_and_then_neither_paused_nor_resumed(desk: Desk, engine: EchoEngine) -> None:
    batch = desk.validated(lines(2))
    pausing.pause(desk.context, TENANT, batch.id)
    batches.cancel(desk.context, TENANT, batch.id)
    desk.work(desk.worker(engine))
    assert (state(desk, batch), engine.requests) == (BatchStatus.CANCELLED, [])
    for change in (pausing.pause, pausing.resume):
        with pytest.raises(Conflict, match="is cancelled and can no longer be"):
            change(desk.context, TENANT, batch.id)
        with pytest.raises(NotFound):
            change(desk.context, "somebody", batch.id)
    with pytest.raises(InvalidInput, match="'reason' must have 1 to 512"):
        pausing.pause(desk.context, TENANT, batch.id, "")


def test_a_paused_batch_takes_nobody_s_room(desks: Desks) -> None:
    desk = desks.desk(shard_size=10)
    desk.measure()
    desk.see()
    desk.expect([300.0 - hour for hour in range(169)])
    big = desk.validated(lines(150), completion_window="4h")
    desk.clock.advance(seconds=1)
    late = desk.validated(lines(100), completion_window="4h")
    assert not (desk.batch(late.id).plan or {})["in_time"]
    pausing.pause(desk.context, TENANT, big.id)
    assert (desk.batch(late.id).plan or {})["in_time"]
    pausing.resume(desk.context, TENANT, big.id)
    # What was promised meanwhile is kept.
    assert (desk.batch(late.id).plan or {})["in_time"]
    assert not (desk.batch(big.id).plan or {})["promised"]


# Retrying


def failed(desk: Desk, engine: EchoEngine) -> Batch:
    """An ended batch of four lines with blank ones between, the second and fourth of which the engine refused."""
    content = b"\n\n".join(
        jsonl([line(name, text="[refuse]" if name in "bd" else "Hello.", metadata={"sprout_level": "L1"})])
        for name in "abcd"
    )
    batch = desk.validated(content, metadata={"mine": "x", "sprout_priority": "3"}, completion_window="2h")
    desk.work(desk.worker(engine))
    return desk.batch(batch.id)


def test_a_retry_runs_what_failed_and_nothing_else(desk: Desk, engine: EchoEngine) -> None:
    first = failed(desk, engine)
    desk.clock.advance(hours=3)
    asked = len(engine.requests)
    # Its file is not needed.
    files.delete(desk.context, TENANT, first.input_file_id)
    found = retrying.retry(desk.context, TENANT, first.id)
    retry = found.batch
    assert (retry.status, retry.retry_of, retry.total, retry.priority) == (BatchStatus.IN_PROGRESS, first.id, 2, 3)
    assert (retry.metadata, retry.model, retry.endpoint) == (first.metadata, first.model, first.endpoint)
    assert retry.expires_at == desk.clock.now() + timedelta(hours=2)
    assert (found.answered, found.rejected) == (2, 0)
    assert "2 have an answer and are not" in found.note
    assert (desk.batch(retry.id).plan or {})["planned_at"] == desk.clock.now().isoformat()
    desk.work(desk.worker(engine))
    assert len(engine.requests) == asked + 2
    ended = desk.batch(retry.id)
    assert (ended.status, ended.completed, ended.failed) == (BatchStatus.COMPLETED, 0, 2)
    assert custom_ids(desk, ended.error_file_id) == ["b", "d"]
    assert desk.rows("SELECT line FROM results WHERE batch_id = :id ORDER BY line", id=retry.id) == [4, 10]
    assert desk.rows("SELECT DISTINCT pinned_level FROM requests WHERE batch_id = :id", id=retry.id) == [1]
    # Asked again it is the same; what failed in it is retried by retrying it.
    assert retrying.retry(desk.context, TENANT, first.id).batch == ended
    assert retrying.retry(desk.context, TENANT, retry.id).batch.retry_of == retry.id


def test_what_was_cancelled_or_expired_is_retried(small: Desk, engine: EchoEngine) -> None:
    desk = small
    batch = desk.validated(lines(5))
    desk.run_beside_others(desk.worker(engine), desk.dispatcher.arguments(Task.GENERATE)[0])
    batches.cancel(desk.context, TENANT, batch.id)
    with pytest.raises(Conflict, match="it can be retried once it has ended"):
        retrying.retry(desk.context, TENANT, batch.id)
    desk.work(desk.worker(engine))
    retry = retrying.retry(desk.context, TENANT, batch.id).batch
    desk.work(desk.worker(engine))
    assert custom_ids(desk, desk.batch(retry.id).output_file_id) == ["r2", "r3", "r4"]
    assert len(engine.requests) == 5
    with pytest.raises(Conflict, match="nothing to retry"):
        retrying.retry(desk.context, TENANT, retry.id)


def test_two_who_retry_at_once_get_one_batch(desk: Desk, engine: EchoEngine) -> None:
    first = failed(desk, engine)
    with ThreadPoolExecutor() as pool:
        asked = [pool.submit(retrying.retry, desk.context, TENANT, first.id) for _ in range(6)]
    assert len({each.result().batch.id for each in asked}) == 1
    assert desk.rows("SELECT count(*) FROM batches") == [2]
    assert desk.rows("SELECT count(*) FROM requests") == [6]


def test_what_cannot_be_retried(desk: Desk, engine: EchoEngine) -> None:
    refused = desk.validated(b"{")
    with pytest.raises(Conflict, match="mend its file"):
        retrying.retry(desk.context, TENANT, refused.id)
    never = desk.submit(lines(1))
    batches.cancel(desk.context, TENANT, never)
    finalization.finalize(desk.context, never)
    with pytest.raises(Conflict, match="before its lines were validated"):
        retrying.retry(desk.context, TENANT, never)
    purged = failed(desk, engine)
    with desk.context.database.transaction() as connection:
        connection.execute(text("DELETE FROM requests"))
    with pytest.raises(Conflict, match="were deleted"):
        retrying.retry(desk.context, TENANT, purged.id)
    with pytest.raises(NotFound):
        retrying.retry(desk.context, "somebody", purged.id)
    assert desk.rows("SELECT count(*) FROM batches WHERE retry_of IS NOT NULL") == [0]


# Creating once


def create(desk: Desk, file_id: str, key: str, **changes: Any) -> Batch:
    body: dict[str, Any] = {
        "input_file_id": file_id, "endpoint": ENDPOINT, "completion_window": "24h", "metadata": None, **changes,
    }  # fmt: skip
    return batches.create(desk.context, TENANT, **body, once=idempotency.once(key, body))


def test_a_batch_is_created_once_a_day(desk: Desk) -> None:
    file_id = desk.upload(lines(1)).id
    with ThreadPoolExecutor() as pool:
        asked = [pool.submit(create, desk, file_id, "key") for _ in range(6)]
    assert len({each.result().id for each in asked}) == 1
    assert len(desk.dispatcher.sent) == 1
    for changes in ({"metadata": {"a": "b"}}, {"completion_window": "2h"}):
        with pytest.raises(InvalidInput, match="send the same body again") as refusal:
            create(desk, file_id, "key", **changes)
        assert (refusal.value.code, refusal.value.param) == ("idempotency_error", "Idempotency-Key")
    first = asked[0].result().id
    assert create(desk, file_id, "other").id != first
    # What is refused takes no key.
    with pytest.raises(NotFound):
        create(desk, "file-none", "third")
    assert create(desk, file_id, "third").id != first
    desk.clock.advance(hours=24)
    assert create(desk, file_id, "key").id != first
    reconciliation.reconcile(desk.context)
    assert desk.rows("SELECT key FROM idempotency_keys") == ["key"]


def test_a_key_is_its_tenant_s_own(desk: Desk) -> None:
    mine = create(desk, desk.upload(lines(1)).id, "key")
    with desk.context.database.transaction() as connection:
        theirs = store_batch(connection, tenant_id="somebody").input_file_id
    body: dict[str, Any] = {"input_file_id": theirs, "endpoint": ENDPOINT, "completion_window": "24h", "metadata": None}
    once = idempotency.once("key", body)
    assert batches.create(desk.context, "somebody", **body, once=once).id != mine.id


@pytest.mark.parametrize("key", ["", "x" * 256, "a\0", "a\n", "Grüße", "\x7f"])
def test_what_is_no_key(key: str) -> None:
    with pytest.raises(InvalidInput, match="1 to 255 printable"):
        idempotency.once(key, {})


# Going first


def in_order(engine: EchoEngine) -> list[str]:
    """Of which batch each request was, by its text."""
    return [str(request.body["messages"][0]["content"]) for request in engine.requests]


def texts(number: int, name: str) -> bytes:
    return lines(number, name, text=name)


def test_a_more_important_batch_overtakes_what_stands_in_the_queue(small: Desk, engine: EchoEngine) -> None:
    desk = small
    # More shards than the queue takes.
    low = desk.validated(texts(2 * QUEUE_DEPTH + 4, "low"))
    assert len(desk.dispatcher.arguments(Task.GENERATE)) == QUEUE_DEPTH
    high = desk.validated(texts(4, "high"), metadata={"sprout_priority": "5"})
    lowest = desk.validated(texts(2, "lowest"), metadata={"sprout_priority": "-1"})
    desk.work(desk.worker(engine))
    order = in_order(engine)
    assert order[:4] == ["high"] * 4
    assert order[-2:] == ["lowest"] * 2
    assert len(order) == 2 * QUEUE_DEPTH + 4 + 4 + 2
    assert [state(desk, each) for each in (low, high, lowest)] == [BatchStatus.COMPLETED] * 3


def test_a_deadline_is_not_overtaken(small: Desk, engine: EchoEngine) -> None:
    desk = small
    desk.validated(texts(2, "low"))
    (shard,) = desk.dispatcher.arguments(Task.GENERATE)
    desk.validated(texts(2, "high"), metadata={"sprout_priority": "10"})
    with desk.context.database.transaction() as connection:
        connection.execute(text("UPDATE shards SET start_by = :now"), {"now": desk.clock.now()})
    desk.run_beside_others(desk.worker(engine), shard)
    assert in_order(engine) == ["low"] * 2


def test_another_tenant_s_shard_is_not_overtaken(small: Desk, engine: EchoEngine) -> None:
    desk = small
    desk.validated(texts(2, "high"), metadata={"sprout_priority": "10"})
    with desk.context.database.transaction() as connection:
        other = store_batch(connection, lines=2, ranges=[(1, 2)], tenant_id="somebody")
    desk.run_beside_others(desk.worker(engine), f"{other.id}:1-2")
    assert in_order(engine) == ["Say hello."] * 2


def test_two_workers_that_want_the_same_important_shard(small: Desk) -> None:
    """One gets it, the other runs what it was rung for; nothing is lost."""
    desk = small
    low = desk.validated(texts(8, "low"))
    rung = desk.dispatcher.arguments(Task.GENERATE)
    high = desk.validated(texts(2, "high"), metadata={"sprout_priority": "1"})
    engines = [EchoEngine() for _ in range(4)]
    with ThreadPoolExecutor() as pool:
        runs = [
            pool.submit(desk.run_beside_others, desk.worker(engine, name=f"w{number}"), shard)
            for number, (engine, shard) in enumerate(zip(engines, rung, strict=True))
        ]
    assert [run.result() for run in runs] == [None] * 4
    reconciliation.reconcile(desk.context)
    desk.work(desk.worker(EchoEngine(), name="last"))
    assert [state(desk, each) for each in (low, high)] == [BatchStatus.COMPLETED] * 2
    assert sum(in_order(engine).count("high") for engine in engines) == 2
    assert desk.rows("SELECT count(*) FROM results") == [10]


# Ending early


@pytest.mark.parametrize("how", ["cancelled", "expired"])
def test_what_runs_is_stopped_in_the_engine(desk: Desk, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """An engine that is silent is let go of when the lease is to be renewed, not with its next answer."""
    monkeypatch.setattr(generation, "QUIET_S", 0.1)
    monkeypatch.setattr(generation, "GROUP_S", 0.05)
    batch = desk.validated(jsonl([line("done"), line("runs", text=HANG)]))
    engine = EchoEngine()
    worker = desk.worker(engine)
    with ThreadPoolExecutor() as pool:
        running = pool.submit(desk.run_beside_others, worker, desk.dispatcher.arguments(Task.GENERATE)[0])
        eventually(lambda: desk.rows("SELECT count(*) FROM results") == [1])
        assert not running.done()
        if how == "cancelled":
            batches.cancel(desk.context, TENANT, batch.id)
        else:
            with desk.context.database.transaction() as connection:
                set_cells(connection, batch.id, expires_at=desk.clock.now())
            reconciliation.reconcile(desk.context)
        running.result(timeout=5)
    eventually(lambda: not engine.drain_work())
    desk.work(worker)
    ended = desk.batch(batch.id)
    assert ended.status == how
    assert custom_ids(desk, ended.output_file_id) == ["done"]
    (lost,) = desk.lines(ended.error_file_id)
    assert (lost["custom_id"], lost["error"]["code"]) == ("runs", f"batch_{how}")
