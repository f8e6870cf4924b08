"""Planning again and again: what moves, what stays, and what happens beside workers, and when something is away."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from app.domain.batch import BatchStatus
from app.domain.errors import InvalidInput, ServiceUnavailable
from app.domain.intensity import HOUR
from app.ports import Task
from app.services import batches, deferral, generation, grid, layout, reconciliation, validation
from app.store import shards
from app.store.database import TENANT
from app.store.shards import Lease
from tests.support.clock import NOON
from tests.support.engine import EchoEngine
from tests.support.factories import line, take
from tests.support.grid import silent
from tests.support.services import Desk, Desks, FailingDatabase, jsonl
from tests.support.waiting import eventually

CARBON = {"sprout_schedule": "carbon"}
EVENING = [300.0] * 5 + [50.0] * 2 + [300.0] * 30
AFTERNOON = [300.0] * 2 + [50.0] * 2 + [300.0] * 30


@pytest.fixture
def desk(desks: Desks) -> Desk:
    desk = desks.desk(shard_size=10)
    desk.measure()
    desk.expect(EVENING)
    return desk


def requests(number: int) -> bytes:
    return jsonl(line(f"r{index}") for index in range(number))


def releases(desk: Desk) -> Sequence[float]:
    """In hours from noon."""
    return [
        (moment - NOON) / HOUR for moment in desk.rows("SELECT release_at FROM shards ORDER BY batch_id, first_line")
    ]


def rung(desk: Desk) -> Sequence[str]:
    return desk.dispatcher.arguments(Task.GENERATE)


def leased(desk: Desk, shard: str) -> Lease:
    with desk.context.database.transaction() as connection:
        return take(connection, shard, now=desk.clock.now())


def test_shards_move_with_the_forecast(desk: Desk) -> None:
    desk.validated(requests(40), metadata=CARBON)
    desk.clock.advance(minutes=10)
    desk.expect(AFTERNOON)
    deferral.replan(desk.context)
    assert releases(desk) == [2.0] * 4
    desk.expect([50.0, *[300.0] * 30])
    deferral.replan(desk.context)
    assert (releases(desk), len(rung(desk))) == ([pytest.approx(1 / 6)] * 4, 4)


def test_the_first_plan_stays_the_promise(desk: Desk) -> None:
    batch = desk.validated(requests(40), metadata=CARBON)
    desk.clock.advance(minutes=10)
    desk.expect(AFTERNOON)
    deferral.replan(desk.context)
    found = desk.batch(batch.id)
    assert found.first_plan == batch.first_plan
    assert found.first_plan is not None
    assert found.plan is not None
    assert (found.first_plan["waiting_until"], found.plan["waiting_until"]) == (
        (NOON + 5 * HOUR).isoformat(),
        (NOON + 2 * HOUR).isoformat(),
    )


def test_a_shard_that_was_sent_and_is_held_again_is_rung_for_later(desk: Desk, engine: EchoEngine) -> None:
    desk.expect([50.0, *EVENING[1:]])
    desk.validated(requests(10), metadata=CARBON)
    (shard,) = rung(desk)
    desk.expect(EVENING)
    deferral.replan(desk.context)
    generation.run_shard(desk.context, desk.worker(engine), shard)
    assert (engine.requests, releases(desk)) == ([], [5.0])
    desk.dispatcher.take_all()
    reconciliation.reconcile(desk.context)
    assert rung(desk) == []
    desk.clock.moment = NOON + 5 * HOUR
    reconciliation.reconcile(desk.context)
    assert rung(desk) == [shard], "it waits for its old message to be given up"


def test_what_runs_is_never_moved(desk: Desk) -> None:
    desk.expect([50.0, *EVENING[1:]])
    desk.validated(requests(30), metadata=CARBON)
    lease = leased(desk, rung(desk)[1])
    before = desk.rows("SELECT * FROM shards WHERE state = 'leased'")
    desk.expect(EVENING)
    deferral.replan(desk.context)
    assert releases(desk) == [5.0, 0.0, 5.0]
    assert desk.rows("SELECT * FROM shards WHERE state = 'leased'") == before
    with desk.context.database.transaction() as connection:
        assert shards.hold(connection, lease)


def test_what_runs_does_not_count_as_waiting(desk: Desk) -> None:
    """Not even when it will run on into the next hour."""
    desk.expect([50.0, *EVENING[1:]])
    batch = desk.validated(requests(40), metadata=CARBON)
    for shard in rung(desk):
        leased(desk, shard)
    desk.clock.advance(minutes=59, seconds=59)
    desk.expect(EVENING)
    deferral.replan(desk.context)
    plan = desk.batch(batch.id).plan
    assert plan is not None
    assert (plan["held"], plan["waiting_until"]) == (0, None)


def test_planning_again_without_news_writes_no_shard(desk: Desk) -> None:
    desk.validated(requests(40), metadata=CARBON)
    desk.validated(requests(20))
    query = "SELECT xmin::text, shards::text FROM shards ORDER BY id"
    before = desk.rows(query)
    plans = desk.rows("SELECT plan, first_plan FROM batches ORDER BY id")
    for _ in range(2):
        deferral.replan(desk.context)
        assert desk.rows(query) == before
        assert desk.rows("SELECT plan, first_plan FROM batches ORDER BY id") == plans
    desk.clock.advance(seconds=30)
    deferral.replan(desk.context)
    assert desk.rows(query) == before


def test_nothing_to_plan(desk: Desk) -> None:
    deferral.replan(desk.context)
    assert desk.dispatcher.sent == []


def test_a_batch_that_is_just_cancelled_is_not_planned(desk: Desk) -> None:
    gone, kept = (desk.validated(requests(10), metadata=CARBON) for _ in range(2))
    desk.expect(AFTERNOON)
    with desk.context.database.transaction() as connection:
        connection.execute(text("SELECT 1 FROM batches WHERE id = :id FOR UPDATE"), {"id": gone.id})
        deferral.replan(desk.context)
    assert desk.batch(kept.id).plan != kept.plan
    assert desk.batch(gone.id) == gone
    batches.cancel(desk.context, TENANT, gone.id)
    deferral.replan(desk.context)
    assert desk.rows("SELECT DISTINCT state FROM shards WHERE batch_id = :id", id=gone.id) == ["done"]


def test_plans_and_validations_and_cancellations_at_once(desks: Desks, engine: EchoEngine) -> None:
    """Nobody waits for ever, and every request is answered once."""
    desk = desks.desk(shard_size=3)
    desk.measure()
    desk.expect([50.0, *[300.0] * 30])
    ids = [desk.submit(requests(30), metadata=CARBON if number % 2 else None) for number in range(12)]
    stop = threading.Event()
    worker = desk.worker(engine)

    def again(action: Any) -> None:
        while not stop.is_set():
            action(desk.context)

    def work(number: int) -> None:
        validation.validate(desk.context, ids[number])
        if number % 4 == 0:
            batches.cancel(desk.context, TENANT, ids[number])
        elif number % 4 == 1:
            deferral.release(desk.context, TENANT, ids[number])
        for shard in desk.rows("SELECT id FROM shards WHERE batch_id = :id", id=ids[number]):
            generation.run_shard(desk.context, worker, shard)

    with ThreadPoolExecutor(10) as pool:
        loops = [pool.submit(again, action) for action in (deferral.replan, deferral.replan, reconciliation.reconcile)]
        try:
            list(pool.map(work, range(len(ids))))
        finally:
            stop.set()
        for loop in loops:
            loop.result()
    desk.clock.advance(seconds=desk.context.settings.lease_s + 1)
    while desk.rows("SELECT 1 FROM batches WHERE status NOT IN ('completed', 'cancelled')"):
        reconciliation.reconcile(desk.context)
        desk.work(worker)
    ended = [desk.batch(batch_id) for batch_id in ids]
    assert [batch.status is BatchStatus.CANCELLED for batch in ended] == [number % 4 == 0 for number in range(12)]
    assert {batch.completed for batch in ended if batch.status is BatchStatus.COMPLETED} == {30}
    keys = [request.key for request in engine.requests]
    assert len(keys) == len(set(keys))


def test_plans_wait_for_each_other(desk: Desk) -> None:
    desk.validated(requests(10), metadata=CARBON)
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    with ThreadPoolExecutor(1) as pool:
        with desk.context.database.transaction() as connection:
            deferral.plan_open(desk.context, connection)
            other = pool.submit(deferral.replan, desk.context)
            eventually(lambda: other.done() or desk.rows(waiting) == [1])
            assert not other.done()
        other.result()


def test_a_plan_that_cannot_be_made_leaves_the_last_one(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    held = desk.validated(requests(20), metadata=CARBON)

    def refuse(*_: object) -> None:
        raise InvalidInput("A stored figure is out of its mind.")

    monkeypatch.setattr(layout, "look_ahead", refuse)
    new = desk.validated(requests(20), metadata=CARBON)
    deferral.replan(desk.context)
    assert "batches of test-model are not planned anew: A stored figure is out of its mind." in caplog.text
    assert desk.batch(held.id) == held
    assert {shard.split(":")[0] for shard in rung(desk)} == {new.id}
    assert desk.batch(new.id).status is BatchStatus.IN_PROGRESS
    desk.dispatcher.take_all()
    desk.clock.moment = NOON + 5 * HOUR
    reconciliation.reconcile(desk.context)
    assert {shard.split(":")[0] for shard in rung(desk)} == {held.id, new.id}


def test_a_stored_figure_that_nobody_can_plan_with(desk: Desk) -> None:
    desk.measure(device_s=float("nan"))
    batch = desk.validated(requests(20), metadata=CARBON)
    assert (batch.status, len(rung(desk))) == (BatchStatus.IN_PROGRESS, 2)


def test_postgresql_is_away_while_planning(desk: Desk) -> None:
    held = desk.validated(requests(20), metadata=CARBON)
    failing = FailingDatabase(desk.context.database)
    failing.failures = 1
    with pytest.raises(ServiceUnavailable):
        deferral.replan(replace(desk.context, database=failing))  # type: ignore[arg-type]
    assert desk.batch(held.id) == held
    deferral.replan(replace(desk.context, database=failing))  # type: ignore[arg-type]
    assert releases(desk) == [5.0, 5.0]


def test_while_the_source_is_away_the_stored_forecast_serves(desk: Desk) -> None:
    desk.validated(requests(20), metadata=CARBON)
    for hour in (1, 2, 3, 4):
        desk.clock.moment = NOON + hour * HOUR
        grid.refresh(desk.context, silent())
        deferral.replan(desk.context)
        assert releases(desk) == [5.0, 5.0]


def test_a_clock_that_was_set_back(desk: Desk, engine: EchoEngine) -> None:
    desk.clock.advance(hours=3)
    running = desk.validated(requests(20))
    held = desk.validated(requests(20), metadata=CARBON)
    desk.clock.moment = NOON + timedelta(hours=1)
    worker = desk.worker(engine)
    desk.work(worker)
    assert engine.requests == [], "what was to run at three o'clock does not run at one"
    deferral.replan(desk.context)
    assert {shard.split(":")[0] for shard in rung(desk)} == {running.id}, "it waits until the clock has caught up"
    desk.work(worker)
    assert desk.batch(running.id).completed == 20
    desk.clock.moment = NOON + 5 * HOUR
    reconciliation.reconcile(desk.context)
    desk.work(worker)
    assert desk.batch(held.id).completed == 20
