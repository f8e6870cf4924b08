"""Cutting a shard that is leased, and copying one that is left."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Connection, insert, select, text, update

from app.domain.batch import BatchStatus
from app.domain.shard import Lines, ShardState
from app.store import plans, results, shards, sharing
from app.store.accounts import tenants
from app.store.batches import Batch
from app.store.database import Database
from app.store.shards import Lease
from app.store.sharing import Left
from app.store.tables import shards as table
from tests.support.clock import NOON
from tests.support.factories import MODEL, a_request, a_result, shard_id, store_batch, take
from tests.support.waiting import eventually


@pytest.fixture
def batch(connection: Connection) -> Batch:
    return store_batch(connection, lines=12, ranges=[(1, 8), (9, 12)])


def put(connection: Connection, shard: str, **cells: object) -> None:
    """Bring a shard into a state that it would reach by work."""
    connection.execute(update(table).where(table.c.id == shard).values(**cells))


def lines(connection: Connection) -> Sequence[tuple[int, int, int, str]]:
    query = select(table.c.first_line, table.c.last_line, table.c.requests, table.c.state).order_by(table.c.first_line)
    return [tuple(row) for row in connection.execute(query)]


def copy(connection: Connection, owner: str = "idle", place: str = "") -> Lease | None:
    minute = timedelta(minutes=1)
    return sharing.copy_slowest(connection, place=place, model=MODEL, owner=owner, at_once=4, now=NOON, duration=minute)


def copied(connection: Connection, **terms: str) -> str | None:
    """The id of the copy."""
    lease = copy(connection, **terms)
    return lease.shard.id if lease else None


def left(connection: Connection, owner: str = "me", place: str = "") -> Left:
    return sharing.left(connection, place=place, model=MODEL, owner=owner, now=NOON)


def test_the_rest_of_a_shard_becomes_one_of_its_own(connection: Connection, batch: Batch) -> None:
    lease = take(connection, shard_id(batch, 1, 8))
    sharing.cut(connection, lease.shard, at=4)
    assert lines(connection) == [(1, 3, 3, "leased"), (4, 8, 5, "pending"), (9, 12, 4, "pending")]
    assert take(connection, shard_id(batch, 4, 8)).shard.requests == 5


def test_blank_lines_hold_no_requests(connection: Connection) -> None:
    batch = store_batch(connection, lines=map(a_request, (2, 3, 7, 9)))
    shards.add(connection, tenant="default", batch_id=batch.id, ranges=[Lines(2, 9, 4)], now=NOON)
    sharing.cut(connection, take(connection, shard_id(batch, 2, 9)).shard, at=7)
    assert lines(connection) == [(2, 6, 2, "leased"), (7, 9, 2, "pending")]


def test_the_rest_keeps_its_place_its_time_and_its_losses(connection: Connection) -> None:
    batch = store_batch(connection, lines=4, ranges=[(1, 4)])
    cells = {"zone": "FR", "start_by": NOON, "losses": 1}
    put(connection, shard_id(batch, 1, 4), **cells)
    lease = take(connection, shard_id(batch, 1, 4), place="FR")
    sharing.cut(connection, lease.shard, at=3)
    rest = connection.execute(select(table).where(table.c.first_line == 3)).one()
    assert (rest.id, rest.zone, rest.start_by, rest.losses) == (f"{batch.id}:3-4~1", "FR", NOON, 1)
    assert (rest.sent_at, rest.completed, rest.release_at, rest.created_at) == (None, 0, NOON, NOON)


def test_what_is_left_is_what_nobody_has_leased(connection: Connection, batch: Batch) -> None:
    assert left(connection) == Left(requests=12, others=0)
    take(connection, shard_id(batch, 1, 8), owner="me")
    assert left(connection) == Left(requests=4, others=0)
    assert left(connection, owner="you") == Left(requests=4, others=1)
    assert left(connection, place="FR") == Left(requests=0, others=0)


def test_the_shard_that_is_furthest_from_its_end_is_copied_once(connection: Connection) -> None:
    batch = store_batch(connection, lines=9, ranges=[(1, 4), (5, 9)])
    slow, done_soon = take(connection, shard_id(batch, 1, 4), owner="a"), take(connection, shard_id(batch, 5, 9))
    put(connection, done_soon.shard.id, completed=3)
    lease = copy(connection)
    assert lease is not None
    assert lease.shard == replace(slow.shard, id=f"{slow.shard.id}+", copy_of=slow.shard.id)
    assert lease.endpoint == slow.endpoint
    # Its tenant has used up what it may use for now.
    connection.execute(insert(tenants).values(id=batch.tenant_id, created_at=NOON, hold="no more"))
    assert copied(connection) is None
    connection.execute(update(tenants).values(hold=None))
    assert copied(connection) == f"{done_soon.shard.id}+"
    assert copied(connection) is None


def test_a_copy_that_loses_its_worker_counts_for_its_original_which_may_be_copied_anew(connection: Connection) -> None:
    batch = store_batch(connection, lines=4, ranges=[(1, 4)])
    slow = take(connection, shard_id(batch, 1, 4), owner="a")
    put(connection, slow.shard.id, completed=1)
    for _ in range(2):
        lost = copied(connection)
        assert lost is not None
        put(connection, lost, completed=1, failed=0)
        sharing.end_copy(connection, lost)
    query = select(table.c.id, table.c.completed, table.c.failed)
    assert [tuple(row) for row in connection.execute(query)] == [(slow.shard.id, 3, 0)]


def test_who_runs_a_copy_cannot_have_its_original_too(connection: Connection) -> None:
    batch = store_batch(connection, lines=4, ranges=[(1, 4)])
    slow = take(connection, shard_id(batch, 1, 4), owner="a")
    assert copied(connection, owner="b") is not None
    shards.give_back(connection, slow, NOON)
    terms = {"model": MODEL, "now": NOON, "duration": timedelta(minutes=1)}
    assert shards.lease(connection, slow.shard.id, owner="b", **terms) is None
    assert shards.lease(connection, slow.shard.id, owner="c", **terms) is not None


def test_answers_go_with_the_lines_that_are_cut_off(connection: Connection) -> None:
    """The long ones were answered first, wherever they stand."""
    batch = store_batch(connection, lines=8, ranges=[(1, 8)])
    lease = take(connection, shard_id(batch, 1, 8))
    bad = a_result(batch, 7, status_code=None, error_code="late")
    results.record(connection, [a_result(batch, 2), a_result(batch, 5), a_result(batch, 6, status_code=400), bad])
    put(connection, lease.shard.id, completed=2, failed=2)
    sharing.cut(connection, lease.shard, at=4)
    query = select(table.c.first_line, table.c.requests, table.c.completed, table.c.failed).order_by(table.c.first_line)
    assert [tuple(row) for row in connection.execute(query)] == [(1, 3, 1, 0), (4, 5, 1, 2)]


@pytest.mark.parametrize("cells", [{"losses": 1}, {"completed": 6, "failed": 2}, {"lease_owner": "idle"}])
def test_suspects_answered_shards_and_ones_own_are_not_copied(
    connection: Connection, batch: Batch, cells: dict[str, object]
) -> None:
    take(connection, shard_id(batch, 1, 8))
    put(connection, shard_id(batch, 1, 8), **cells)
    assert copied(connection) is None


def test_only_leased_shards_of_the_zone_in_batches_in_progress_are_copied(connection: Connection) -> None:
    batch = store_batch(connection, lines=2, ranges=[(1, 2)])
    assert copied(connection) is None
    take(connection, shard_id(batch, 1, 2))
    assert copied(connection, place="FR") is None
    ended = store_batch(connection, lines=2, ranges=[(1, 2)], status=BatchStatus.CANCELLING)
    put(
        connection,
        shard_id(ended, 1, 2),
        state=ShardState.LEASED,
        lease_id="lease_1",
        lease_owner="b",
        lease_expires_at=NOON,
    )
    assert copied(connection) == f"{shard_id(batch, 1, 2)}+"
    assert copied(connection) is None


def test_a_worker_all_of_whose_requests_run_is_left_alone(connection: Connection, batch: Batch) -> None:
    slow = take(connection, shard_id(batch, 1, 8), owner="a", at_once=12)
    take(connection, shard_id(batch, 9, 12), owner="a", at_once=12)
    assert copied(connection) is None
    put(connection, slow.shard.id, lease_at_once=11)
    put(connection, shard_id(batch, 9, 12), lease_at_once=11)
    assert copied(connection) == f"{slow.shard.id}+"


def test_a_copy_is_not_planned(connection: Connection, batch: Batch) -> None:
    take(connection, shard_id(batch, 1, 8))
    before = plans.open_shards(connection)
    assert copied(connection) is not None
    assert plans.open_shards(connection) == before


def test_a_lease_knows_its_twin(connection: Connection, batch: Batch) -> None:
    first = take(connection, shard_id(batch, 1, 8))
    held = shards.hold(connection, first)
    assert held is not None
    assert held.twin is None
    second = copy(connection)
    assert second is not None
    for lease, twin in ((first, second.shard.id), (second, first.shard.id)):
        held = shards.hold(connection, lease)
        assert held is not None
        assert held.twin == twin
    shards.close(connection, second.shard.id)
    assert shards.hold(connection, second) is None
    assert shards.hold(connection, first) is not None


def test_of_twenty_idle_workers_one_copies_a_shard(database: Database) -> None:
    with database.transaction() as connection:
        batch = store_batch(connection, lines=2, ranges=[(1, 2)])
        take(connection, shard_id(batch, 1, 2))
    together = threading.Barrier(20)

    def copy_as(number: int) -> str | None:
        together.wait(timeout=20)
        with database.transaction() as connection:
            return copied(connection, owner=f"idle-{number}")

    with ThreadPoolExecutor(20) as pool:
        found = [copy for copy in pool.map(copy_as, range(20)) if copy]
    assert found == [f"{shard_id(batch, 1, 2)}+"]


def test_a_shard_whose_worker_writes_just_now_is_copied(database: Database) -> None:
    with database.transaction() as connection:
        batch = store_batch(connection, lines=2, ranges=[(1, 2)])
        lease = take(connection, shard_id(batch, 1, 2))
    with ThreadPoolExecutor(1) as pool:
        with database.transaction() as writing:
            assert shards.hold(writing, lease) is not None

            def copy_it() -> str | None:
                with database.transaction() as connection:
                    return copied(connection)

            waiting = pool.submit(copy_it)
            blocked = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            eventually(lambda: writing.execute(text(blocked)).scalar() == 1)
        assert waiting.result(timeout=20) == f"{shard_id(batch, 1, 2)}+"
