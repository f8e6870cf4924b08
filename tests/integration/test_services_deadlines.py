"""Deadlines: what cannot be kept is said, what can be kept is kept, and nobody starves."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from app.domain.batch import BatchStatus
from app.domain.intensity import HOUR
from app.ports import Task
from app.services import batches, deferral, generation, reconciliation
from app.services.dispatch import QUEUE_DEPTH
from app.store.batches import Batch
from app.store.database import TENANT
from tests.support.clock import NOON
from tests.support.engine import EchoEngine
from tests.support.factories import line
from tests.support.services import Desk, Desks, jsonl

FALLING = [300.0 - hour for hour in range(169)]
"""Every hour is a little cleaner than the one before: whoever may wait waits as long as possible."""


@pytest.fixture
def desk(desks: Desks) -> Desk:
    """Shards of ten requests, of which a device runs ten an hour, and five at the safe half of its capacity."""
    desk = desks.desk(shard_size=10)
    desk.measure()
    desk.expect(FALLING)
    return desk


def batch_of(desk: Desk, requests: int, *, window: str = "24h", carbon: bool = True) -> Batch:
    """Submitted a second before the next one."""
    content = jsonl(line(f"r{number}") for number in range(requests))
    metadata = {"sprout_schedule": "carbon"} if carbon else None
    batch = desk.validated(content, metadata=metadata, completion_window=window)
    desk.clock.advance(seconds=1)
    return batch


def times(desk: Desk, batch: Batch, column: str = "release_at") -> Sequence[float]:
    """In hours from noon, by line."""
    query = f"SELECT {column} FROM shards WHERE batch_id = :batch ORDER BY first_line"
    return [(moment - NOON) / HOUR for moment in desk.rows(query, batch=batch.id)]


def in_time(desk: Desk, batch: Batch) -> bool:
    plan = desk.batch(batch.id).plan
    assert plan is not None
    return bool(plan["in_time"])


def rung(desk: Desk) -> Sequence[str]:
    return [argument.split(":")[0] for argument in desk.dispatcher.arguments(Task.GENERATE)]


def test_nothing_is_held_beyond_its_latest_start(desk: Desk) -> None:
    batch = batch_of(desk, 500)
    released, latest = times(desk, batch), times(desk, batch, "start_by")
    assert max(released) > 0
    assert all(release <= max(start, 0) for release, start in zip(released, latest, strict=True))
    due = 24 - 0.02 * 24
    expected = [due - 0.2 * (50 - number) for number in range(50)]
    assert latest == pytest.approx(expected, abs=2 / 60)


@pytest.mark.parametrize(("requests", "kept"), [(40, True), (50, False)])
def test_a_margin_is_kept_free_before_the_window_closes(desk: Desk, requests: int, kept: bool) -> None:
    """Five minutes of an hour's window: 45 requests at half the capacity."""
    batch = batch_of(desk, requests, window="1h")
    assert in_time(desk, batch) is kept


def test_what_cannot_be_kept_is_said_and_runs_at_once(desk: Desk) -> None:
    desk.see()
    batch = batch_of(desk, 60, window="1h")
    assert (times(desk, batch), len(rung(desk))) == ([0.0] * 6, 6)
    plan = desk.batch(batch.id).plan
    assert plan is not None
    assert (plan["in_time"], plan["held"], plan["waiting_until"]) == (False, 0, None)
    assert plan["reason"] == (
        "At half the measured capacity, and after what is promised to others, this batch would end at 2026-03-02 13:12 "
        "UTC; its completion window closes at 2026-03-02 13:00 UTC, and the last 5 min of it are kept free. It runs "
        "at once and may expire unfinished: give it a longer window, or add workers."
    )


def test_a_batch_that_is_late_takes_no_other_s_deadline(desk: Desk) -> None:
    late = batch_of(desk, 3000)
    kept = batch_of(desk, 40, window="6h")
    assert (in_time(desk, late), in_time(desk, kept)) == (False, True)
    assert times(desk, kept, "start_by")[0] > 5, "what is not promised has no part in its latest start"
    assert max(times(desk, kept)) < 0.01, "the machines are full whenever it runs: to wait would save nothing"
    assert set(desk.rows("SELECT start_by FROM shards WHERE batch_id = :batch", batch=late.id)) == {None}


def test_a_promise_is_not_broken_by_what_comes_later(desk: Desk) -> None:
    """On its own the newcomer could be in time: with it, the first would not."""
    first = batch_of(desk, 1000, window="24h")
    newcomer = batch_of(desk, 250, window="6h")
    assert (in_time(desk, first), in_time(desk, newcomer)) == (True, False)
    desk.clock.advance(hours=1)
    deferral.replan(desk.context)
    assert (in_time(desk, first), in_time(desk, newcomer)) == (True, False)


def test_what_could_not_be_promised_is_promised_once_there_is_room(desk: Desk) -> None:
    first = batch_of(desk, 1000, window="24h")
    newcomer = batch_of(desk, 250, window="6h")
    batches.cancel(desk.context, TENANT, first.id)
    deferral.replan(desk.context)
    assert in_time(desk, newcomer)


def test_nobody_waits_behind_what_cannot_be_saved(desk: Desk) -> None:
    lost = batch_of(desk, 3000)
    small = batch_of(desk, 20, carbon=False)
    kept = batch_of(desk, 20, window="1h")
    desk.dispatcher.take_all()
    desk.clock.advance(minutes=5)
    reconciliation.reconcile(desk.context)
    assert rung(desk)[:7] == [kept.id, kept.id, lost.id, small.id, lost.id, small.id, lost.id]
    assert not in_time(desk, lost)


def test_what_has_no_time_to_lose_goes_first(desk: Desk) -> None:
    asap = batch_of(desk, 400, window="7d", carbon=False)
    urgent = batch_of(desk, 40, window="1h")
    assert rung(desk) == [*[urgent.id] * 4, *[asap.id] * QUEUE_DEPTH], "it overtakes a queue that is full"


def test_small_work_takes_turns_with_huge_work(desk: Desk) -> None:
    huge = batch_of(desk, 1000, window="7d", carbon=False)
    small = batch_of(desk, 20, window="7d", carbon=False)
    desk.dispatcher.take_all()
    desk.clock.advance(seconds=desk.context.settings.resend_s + 1)
    reconciliation.reconcile(desk.context)
    assert rung(desk)[:5] == [huge.id, small.id, huge.id, small.id, huge.id]


def test_work_that_is_released_late_does_not_wait_behind_all_that_came_before(desk: Desk) -> None:
    carbon = batch_of(desk, 20, window="2h")
    assert rung(desk) == []
    huge = batch_of(desk, 1000, window="7d", carbon=False)
    desk.dispatcher.take_all()
    desk.clock.moment = NOON + timedelta(minutes=104)
    reconciliation.reconcile(desk.context)
    assert rung(desk)[:3] == [carbon.id, carbon.id, huge.id]


def test_what_may_wait_leaves_room_for_what_may_not(desk: Desk) -> None:
    """Work to run at once takes the present hours; what waits is laid out after it."""
    desk.expect([100.0] * 10 + [300.0] * 100)
    batch_of(desk, 300, window="24h", carbon=False)
    waiting = batch_of(desk, 100, window="24h")
    assert min(times(desk, waiting)) >= 2.0


@pytest.mark.parametrize("hours", [6, 18])
def test_a_feasible_batch_ends_in_time_even_at_half_the_capacity(desk: Desk, engine: EchoEngine, hours: int) -> None:
    """Whatever the forecast says, and however late it changes: five requests an hour, ten hours of work."""
    batch = batch_of(desk, 500)
    worker = desk.worker(engine)
    free_at = desk.clock.now()
    for minute in range(0, 24 * 60, 6):
        desk.clock.moment = NOON + timedelta(minutes=minute)
        if minute == hours * 60:
            desk.expect([500.0, *[400.0 - hour for hour in range(160)]])
        if minute % 30 == 0:
            deferral.replan(desk.context)
        reconciliation.reconcile(desk.context)
        while (waiting := desk.dispatcher.arguments(Task.GENERATE)) and free_at <= desk.clock.now():
            desk.dispatcher.sent.remove((Task.GENERATE, waiting[0]))
            before = len(engine.requests)
            generation.run_shard(desk.context, worker, waiting[0])
            took = (len(engine.requests) - before) / 50
            free_at = max(free_at, desk.clock.now()) + took * HOUR
    desk.work(worker)
    found = desk.batch(batch.id)
    assert (found.status, found.completed) == (BatchStatus.COMPLETED, 500)
    assert free_at < batch.expires_at


def test_a_batch_that_was_held_too_long_expires_with_an_error_for_each_line(desk: Desk, engine: EchoEngine) -> None:
    """No worker was there all day."""
    batch = batch_of(desk, 20)
    desk.clock.moment = batch.expires_at
    deferral.replan(desk.context)
    reconciliation.reconcile(desk.context)
    desk.work(desk.worker(engine))
    found = desk.batch(batch.id)
    assert (found.status, found.completed, found.failed) == (BatchStatus.EXPIRED, 0, 20)
    assert len(desk.lines(found.error_file_id)) == 20
