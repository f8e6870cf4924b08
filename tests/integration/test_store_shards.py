"""Leases: who may run a shard, and what becomes of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, select, update

from app.domain.batch import CACHE_KEY, BatchStatus
from app.domain.shard import Lines, ShardState
from app.store import batches, plans, shards, sharing, turns
from app.store.batches import Batch, Counts
from app.store.database import Database
from app.store.plans import Planned
from app.store.shards import Lease, Shard
from app.store.tables import shards as table
from tests.support.clock import NOON
from tests.support.factories import MODEL, set_cells, shard_id, store_batch, take

MINUTE = timedelta(minutes=1)


@pytest.fixture
def batch(connection: Connection) -> Batch:
    return store_batch(connection, lines=6, ranges=[(1, 2), (3, 4), (5, 6)])


def row(connection: Connection, shard: str) -> Any:
    return connection.execute(select(table).where(table.c.id == shard)).one()


def renew(connection: Connection, lease: Lease, **changes: Any) -> bool:
    terms: dict[str, Any] = {"now": NOON, "duration": MINUTE, "completed": 0, "failed": 0, "done": False, **changes}
    return shards.renew(connection, lease, **terms)


def offered(connection: Connection, *, limit: int = 10, at: timedelta = timedelta(0)) -> list[str]:
    return [shard.id for shard in turns.waiting(connection, model=MODEL, limit=limit, now=NOON + at, resend=MINUTE)]


def planned(batch: Batch, line: int, start_by: datetime, **changes: Any) -> Planned:
    values: dict[str, Any] = {"id": shard_id(batch, line, line), "zone": "", "release_at": NOON, "start_by": start_by}
    return Planned(**{**values, **changes})


def all_at_once(number: int, act: Callable[[int], Any]) -> list[Any]:
    """What `act` returns in `number` threads that start together."""
    together = threading.Barrier(number)

    def start(index: int) -> Any:
        together.wait(timeout=20)
        return act(index)

    with ThreadPoolExecutor(number) as pool:
        return [future.result(timeout=60) for future in [pool.submit(start, index) for index in range(number)]]


def test_a_shard_is_named_after_its_lines(connection: Connection, batch: Batch) -> None:
    assert offered(connection) == [f"{batch.id}:1-2", f"{batch.id}:3-4", f"{batch.id}:5-6"]
    shards.add(connection, tenant="default", batch_id=batch.id, ranges=[Lines(1, 1, 1)], now=NOON, losses=2)
    assert offered(connection) == [f"{batch.id}:1-1~2"]


def test_a_lease_carries_what_the_worker_needs(connection: Connection, batch: Batch) -> None:
    lease = take(connection, shard_id(batch, 3, 4), owner="worker-9")
    assert lease.endpoint == batch.endpoint
    assert lease.shard == Shard(
        id=shard_id(batch, 3, 4),
        batch_id=batch.id,
        tenant_id="default",
        first_line=3,
        last_line=4,
        requests=2,
        losses=0,
        zone="",
        copy_of=None,
    )
    found = row(connection, lease.shard.id)
    assert (found.state, found.lease_id, found.lease_owner) == ("leased", lease.id, "worker-9")
    assert found.lease_expires_at == NOON + MINUTE


@pytest.mark.parametrize(("said", "is_cached"), [({CACHE_KEY: "on"}, True), ({CACHE_KEY: "off"}, False), (None, False)])
def test_a_lease_says_whether_known_answers_are_taken(
    connection: Connection, said: dict[str, str] | None, is_cached: bool
) -> None:
    batch = store_batch(connection, lines=4, ranges=[(1, 4)], metadata=said)
    lease = take(connection, shard_id(batch, 1, 4), owner="slow")
    assert lease.is_cached is is_cached
    copy = sharing.copy_slowest(connection, place="", model=MODEL, owner="idle", at_once=1, now=NOON, duration=MINUTE)
    assert copy is not None
    assert copy.is_cached is is_cached


def test_a_leased_shard_is_not_to_be_had(connection: Connection, batch: Batch) -> None:
    shard = shard_id(batch, 1, 2)
    take(connection, shard)
    assert shards.lease(connection, shard, model=MODEL, owner="other", now=NOON, duration=MINUTE) is None
    # Not even after it has lapsed: only the reconciliation takes a shard from a silent worker, and counts the loss.
    assert shards.lease(connection, shard, model=MODEL, owner="other", now=NOON + 2 * MINUTE, duration=MINUTE) is None


def test_an_unknown_shard_is_not_to_be_had(connection: Connection) -> None:
    assert shards.lease(connection, "batch_0:1-2", model=MODEL, owner="w", now=NOON, duration=MINUTE) is None


def test_a_shard_is_not_to_be_had_before_its_release(connection: Connection, batch: Batch) -> None:
    shard = shard_id(batch, 1, 2)
    connection.execute(update(table).values(release_at=NOON + MINUTE))
    assert offered(connection) == []
    assert shards.lease(connection, shard, model=MODEL, owner="w", now=NOON, duration=MINUTE) is None
    assert shards.lease(connection, shard, model=MODEL, owner="w", now=NOON + MINUTE, duration=MINUTE) is not None


@pytest.mark.parametrize("status", [status for status in BatchStatus if status is not BatchStatus.IN_PROGRESS])
def test_shards_of_a_batch_that_is_not_in_progress_are_not_to_be_had(
    connection: Connection, status: BatchStatus
) -> None:
    times = {"completed_at": NOON} if status is BatchStatus.COMPLETED else {}
    batch = store_batch(connection, lines=1, ranges=[(1, 1)], status=status, **times)
    assert shards.lease(connection, shard_id(batch, 1, 1), model=MODEL, owner="w", now=NOON, duration=MINUTE) is None


def test_one_of_twenty_workers_gets_a_shard(database: Database) -> None:
    with database.transaction() as connection:
        batch = store_batch(connection, lines=2, ranges=[(1, 2)])

    def lease(number: int) -> Lease | None:
        with database.transaction() as connection:
            return shards.lease(
                connection, shard_id(batch, 1, 2), model=MODEL, owner=f"worker-{number}", now=NOON, duration=MINUTE
            )

    leases = [found for found in all_at_once(20, lease) if found is not None]
    assert len(leases) == 1
    with database.transaction() as connection:
        assert row(connection, shard_id(batch, 1, 2)).lease_id == leases[0].id


def test_a_shard_that_is_being_leased_keeps_nobody_waiting(database: Database) -> None:
    with database.transaction() as connection:
        batch = store_batch(connection, lines=2, ranges=[(1, 2)])
    with database.transaction() as first, database.transaction() as second:
        take(first, shard_id(batch, 1, 2))
        assert shards.lease(second, shard_id(batch, 1, 2), model=MODEL, owner="w", now=NOON, duration=MINUTE) is None


def test_several_bells_never_offer_a_shard_twice(database: Database) -> None:
    with database.transaction() as connection:
        store_batch(connection, lines=60, ranges=[(line, line) for line in range(1, 61)])

    def ring(_: int) -> list[str]:
        with database.transaction() as connection:
            return offered(connection, limit=10)

    found = [shard for part in all_at_once(8, ring) for shard in part]
    with database.transaction() as connection:
        found += offered(connection, limit=100)
    assert len(found) == len(set(found)) == 60


def test_batches_take_turns_in_line_order_and_up_to_the_limit(connection: Connection) -> None:
    later = store_batch(connection, lines=1, ranges=[(1, 1)], created_at=NOON)
    ranges = [(11, 12), (1, 2), (3, 10)]
    earlier = store_batch(connection, lines=12, ranges=ranges, created_at=NOON - MINUTE)
    assert offered(connection, limit=3) == [shard_id(earlier, 1, 2), shard_id(later, 1, 1), shard_id(earlier, 3, 10)]
    assert offered(connection, limit=3) == [shard_id(earlier, 11, 12)]
    assert offered(connection, limit=3) == []


def test_a_small_batch_waits_for_as_many_shards_of_others_as_it_has(connection: Connection) -> None:
    """The bound for small work: n shards wait for n of each other batch, however long these have been there."""
    for age in (1, 2, 3):
        ranges = [(line, line) for line in range(1, 41)]
        store_batch(connection, lines=40, ranges=ranges, created_at=NOON - age * MINUTE)
    small = store_batch(connection, lines=2, ranges=[(1, 1), (2, 2)], created_at=NOON)
    order = offered(connection, limit=200)
    assert order.index(shard_id(small, 2, 2)) == 2 * 3 + 1


def test_a_shard_whose_latest_start_has_passed_goes_first(connection: Connection) -> None:
    """The bound for urgent work: only work that is still more urgent goes before it."""
    urgent = store_batch(connection, lines=30, ranges=[(29, 29), (30, 30)], created_at=NOON)
    store_batch(connection, lines=3, ranges=[(1, 1), (2, 2), (3, 3)], created_at=NOON - MINUTE)
    plans.place(connection, [planned(urgent, 30, NOON - MINUTE), planned(urgent, 29, NOON + 120 * MINUTE)], NOON)
    order = offered(connection)
    assert (order[0], order[-1]) == (shard_id(urgent, 30, 30), shard_id(urgent, 29, 29))


def test_what_was_offered_is_offered_again_after_a_while(connection: Connection, batch: Batch) -> None:
    assert len(offered(connection)) == 3
    assert offered(connection, at=MINUTE) == []
    assert len(offered(connection, at=1.01 * MINUTE)) == 3
    assert offered(connection, at=2 * MINUTE) == []


def test_what_was_sent_before_the_clock_was_set_back_is_offered_again(connection: Connection, batch: Batch) -> None:
    assert len(offered(connection, at=120 * MINUTE)) == 3
    assert len(offered(connection)) == 3
    assert offered(connection) == []


def test_what_could_not_be_sent_is_offered_again_at_once(connection: Connection, batch: Batch) -> None:
    found = offered(connection)
    shards.unsend(connection, found[1:])
    assert offered(connection) == found[1:]
    shards.unsend(connection, [])


def test_leased_and_done_shards_are_not_offered(connection: Connection, batch: Batch) -> None:
    take(connection, shard_id(batch, 1, 2))
    shards.close(connection, shard_id(batch, 3, 4))
    assert offered(connection) == [shard_id(batch, 5, 6)]


def test_renewing_prolongs_and_counts(connection: Connection, batch: Batch) -> None:
    lease = take(connection, shard_id(batch, 1, 2))
    assert renew(connection, lease, now=NOON + MINUTE / 2, completed=1)
    assert renew(connection, lease, now=NOON + MINUTE, completed=2, failed=3)
    found = row(connection, lease.shard.id)
    assert found.lease_expires_at == NOON + 2 * MINUTE
    assert (found.completed, found.failed, found.state) == (3, 3, "leased")


def test_the_last_renewal_ends_the_lease(connection: Connection, batch: Batch) -> None:
    lease = take(connection, shard_id(batch, 1, 2))
    assert not shards.all_done(connection, batch.id)
    assert renew(connection, lease, completed=2, done=True)
    found = row(connection, lease.shard.id)
    assert (found.state, found.lease_id, found.lease_expires_at, found.completed) == ("done", None, None, 2)
    assert not renew(connection, lease, completed=2)
    assert row(connection, lease.shard.id).completed == 2


def test_a_late_worker_may_go_on_while_nobody_has_taken_its_shard(connection: Connection, batch: Batch) -> None:
    lease = take(connection, shard_id(batch, 1, 2))
    assert renew(connection, lease, now=NOON + 10 * MINUTE)
    assert shards.lapsed(connection, NOON + 10 * MINUTE) == []


def test_a_lease_that_was_taken_away_can_no_longer_be_renewed(connection: Connection, batch: Batch) -> None:
    lease = take(connection, shard_id(batch, 1, 2))
    (lost,) = shards.lapsed(connection, NOON + MINUTE)
    shards.retry(connection, lost)
    assert not renew(connection, lease, completed=1)
    retaken = take(connection, lease.shard.id, owner="worker-2")
    assert retaken.id != lease.id
    assert not renew(connection, lease, completed=1, done=True)
    assert renew(connection, retaken, completed=1)
    assert row(connection, lease.shard.id).completed == 1


def test_a_silent_worker_loses_its_shard_when_the_time_is_up(connection: Connection, batch: Batch) -> None:
    lease = take(connection, shard_id(batch, 1, 2))
    take(connection, shard_id(batch, 3, 4), duration=2 * MINUTE)
    assert shards.lapsed(connection, NOON + MINUTE - timedelta(microseconds=1)) == []
    assert shards.lapsed(connection, NOON + MINUTE) == [lease.shard]


def test_a_worker_can_let_its_own_lease_lapse(connection: Connection, batch: Batch) -> None:
    lease = take(connection, shard_id(batch, 1, 2))
    shards.lapse(connection, replace(lease, id="lease_of_somebody_else"), NOON)
    assert shards.lapsed(connection, NOON) == []
    shards.lapse(connection, lease, NOON)
    assert shards.lapsed(connection, NOON) == [lease.shard]


def test_two_reconciliations_never_see_the_same_lapsed_shard(database: Database) -> None:
    with database.transaction() as connection:
        batch = store_batch(connection, lines=2, ranges=[(1, 2)])
        take(connection, shard_id(batch, 1, 2))
    with database.transaction() as first, database.transaction() as second:
        assert len(shards.lapsed(first, NOON + MINUTE)) == 1
        assert shards.lapsed(second, NOON + MINUTE) == []


def test_a_retry_is_a_loss_and_offered_at_once(connection: Connection, batch: Batch) -> None:
    offered(connection)
    lease = take(connection, shard_id(batch, 1, 2))
    shards.retry(connection, lease.shard)
    found = row(connection, lease.shard.id)
    assert (found.state, found.losses, found.lease_id) == ("pending", 1, None)
    assert offered(connection) == [lease.shard.id]
    assert take(connection, lease.shard.id).shard.losses == 1


def test_giving_back_is_no_loss(connection: Connection, batch: Batch) -> None:
    offered(connection)
    lease = take(connection, shard_id(batch, 1, 2))
    renew(connection, lease, completed=1)
    shards.give_back(connection, lease, NOON + MINUTE / 2)
    found = row(connection, lease.shard.id)
    assert (found.state, found.losses, found.completed) == ("pending", 0, 1)
    assert offered(connection) == []
    assert offered(connection, at=MINUTE / 2) == [lease.shard.id]
    assert not renew(connection, lease)


def test_only_the_holder_gives_back(connection: Connection, batch: Batch) -> None:
    lease = take(connection, shard_id(batch, 1, 2))
    shards.retry(connection, lease.shard)
    retaken = take(connection, lease.shard.id)
    shards.give_back(connection, lease, NOON)
    assert row(connection, lease.shard.id).lease_id == retaken.id


def test_closing_a_shard_takes_the_lease_away(connection: Connection, batch: Batch) -> None:
    lease = take(connection, shard_id(batch, 1, 2))
    renew(connection, lease, failed=1)
    shards.close(connection, lease.shard.id, failed=2)
    assert not renew(connection, lease)
    found = row(connection, lease.shard.id)
    assert (found.state, found.failed) == ("done", 3)


def test_closing_all_shards_of_a_batch_leaves_other_batches_alone(connection: Connection, batch: Batch) -> None:
    other = store_batch(connection, lines=1, ranges=[(1, 1)])
    lease = take(connection, shard_id(batch, 1, 2))
    shards.close_all(connection, batch.id)
    assert not renew(connection, lease)
    assert shards.all_done(connection, batch.id)
    assert not shards.all_done(connection, other.id)
    assert row(connection, shard_id(other, 1, 1)).state == ShardState.PENDING


def test_a_batch_without_shards_is_done(connection: Connection) -> None:
    assert shards.all_done(connection, store_batch(connection).id)


def test_progress_is_the_sum_over_shards(connection: Connection, batch: Batch) -> None:
    idle = store_batch(connection, lines=1, ranges=[(1, 1)])
    for first, completed, failed in ((1, 2, 0), (3, 1, 1)):
        renew(connection, take(connection, shard_id(batch, first, first + 1)), completed=completed, failed=failed)
    assert batches.counts(connection, [batch.id, idle.id, "batch_0"]) == {
        batch.id: Counts(completed=3, failed=1),
        idle.id: Counts(completed=0, failed=0),
    }
    set_cells(connection, batch.id, completed=5, failed=1)
    assert batches.counts(connection, [batch.id]) == {batch.id: Counts(completed=5, failed=1)}
    assert batches.counts(connection, []) == {}
