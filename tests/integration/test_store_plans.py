"""What the planner reads and writes, and that it gets in nobody's way."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, text

from app.domain.batch import BatchStatus, Schedule
from app.domain.intensity import HOUR
from app.store import batches, plans, shards, turns
from app.store.batches import Batch
from app.store.database import TENANT, Database
from app.store.plans import Planned
from tests.support.clock import NOON
from tests.support.factories import MODEL, set_cells, shard_id, store_batch, take
from tests.support.waiting import eventually

RANGES = [(1, 10), (11, 20), (21, 25)]


def rung_for(connection: Connection, place: str = "") -> list[str]:
    return [shard.id for shard in turns.waiting(connection, model=MODEL, place=place, limit=9, now=NOON, resend=HOUR)]


def a_plan(shard: str, **changes: Any) -> Planned:
    values: dict[str, Any] = {"zone": "", "release_at": NOON + 5 * HOUR, "start_by": NOON + 20 * HOUR}
    return Planned(id=shard, **{**values, **changes})


def rows(connection: Connection, columns: str) -> Sequence[Any]:
    return [
        tuple(row) for row in connection.execute(text(f"SELECT {columns} FROM shards ORDER BY batch_id, first_line"))
    ]


def send(connection: Connection, batch: Batch, moment: datetime = NOON) -> None:
    connection.execute(text("UPDATE shards SET sent_at = :now WHERE batch_id = :id"), {"now": moment, "id": batch.id})


def test_open_batches_are_those_in_progress(connection: Connection) -> None:
    kept = store_batch(
        connection, schedule=Schedule.CARBON, zones=("A", "B"), total=25, composition=[{"workload": "x"}]
    )
    for status in {*BatchStatus} - {BatchStatus.IN_PROGRESS}:
        done = {"completed_at": NOON} if status is BatchStatus.COMPLETED else {}
        store_batch(connection, status=status, **done)
    for lock in (False, True):
        (found,) = plans.open_batches(connection, lock=lock)
        assert (found.id, found.schedule, list(found.zones)) == (kept.id, Schedule.CARBON, ["A", "B"])
        assert (found.bytes, found.total, found.composition) == (1000, 25, [{"workload": "x"}])
        assert not found.promised
        plans.note(connection, {kept.id: {"promised": True}}, first=True)
        assert plans.open_batches(connection, lock=lock)[0].promised
        plans.note(connection, {kept.id: {"reason": "none yet"}}, first=False)


def test_open_shards_have_not_ended(connection: Connection) -> None:
    batch = store_batch(connection, ranges=RANGES)
    take(connection, shard_id(batch, 11, 20))
    shards.close(connection, shard_id(batch, 21, 25))
    ended = store_batch(connection, ranges=[(1, 5)])
    set_cells(connection, ended.id, status=BatchStatus.CANCELLING)
    found = plans.open_shards(connection)
    assert [(shard.id, shard.requests, shard.leased) for shard in found] == [
        (shard_id(batch, 1, 10), 10, False),
        (shard_id(batch, 11, 20), 10, True),
    ]


def test_pending_shards_are_placed_and_others_left_alone(connection: Connection) -> None:
    batch = store_batch(connection, ranges=RANGES)
    ids = [shard_id(batch, *lines) for lines in RANGES]
    take(connection, ids[1])
    shards.close(connection, ids[2])
    before = rows(connection, "shards::text")[1:]
    plans.place(connection, [a_plan(shard, zone="B") for shard in ids], NOON)
    assert rows(connection, "zone, release_at, start_by")[0] == ("B", NOON + 5 * HOUR, NOON + 20 * HOUR)
    assert rows(connection, "shards::text")[1:] == before


def test_placing_nothing(connection: Connection) -> None:
    store_batch(connection, ranges=RANGES)
    before = rows(connection, "shards::text")
    plans.place(connection, [], NOON)
    plans.place(connection, [a_plan("batch_none:1-2")], NOON)
    assert rows(connection, "shards::text") == before


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({"release_at": NOON}, True),
        ({"release_at": NOON - HOUR}, True),
        ({"release_at": NOON + timedelta(seconds=1)}, False),
        ({"release_at": NOON, "zone": "B"}, False),
    ],
    ids=["now", "before", "later", "elsewhere"],
)
def test_a_message_counts_unless_it_rings_in_vain(connection: Connection, changes: dict[str, Any], kept: bool) -> None:
    batch = store_batch(connection, ranges=[(1, 10)])
    send(connection, batch)
    plans.place(connection, [a_plan(shard_id(batch, 1, 10), **changes)], NOON)
    assert rows(connection, "sent_at IS NOT NULL") == [(kept,)]


def test_a_shard_that_is_leased_meanwhile_is_left_alone(database: Database) -> None:
    with database.transaction() as connection:
        batch = store_batch(connection, ranges=[(1, 10)])
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )

    def place() -> None:
        with database.transaction() as connection:
            plans.place(connection, [a_plan(shard_id(batch, 1, 10), zone="B")], NOON)

    def waits() -> bool:
        with database.transaction() as connection:
            return connection.execute(waiting).scalar_one() == 1

    with ThreadPoolExecutor(1) as pool:
        with database.transaction() as connection:
            take(connection, shard_id(batch, 1, 10))
            placing = pool.submit(place)
            eventually(lambda: placing.done() or waits())
        placing.result()
    with database.transaction() as connection:
        assert rows(connection, "state, zone, release_at") == [("leased", "", NOON)]


def test_only_the_first_note_is_the_promise(connection: Connection) -> None:
    batch = store_batch(connection)
    other = store_batch(connection)
    plans.note(connection, {batch.id: {"reason": "unmeasured"}}, first=False)
    assert batches.get(connection, TENANT, batch.id).first_plan is None
    for number in (1, 2):
        plans.note(connection, {batch.id: {"number": number}}, first=True)
    found = batches.get(connection, TENANT, batch.id)
    assert (found.plan, found.first_plan) == ({"number": 2}, {"number": 1})
    assert batches.get(connection, TENANT, other.id).plan is None


def test_a_release_is_for_what_waits_of_one_batch(connection: Connection) -> None:
    first, other = (store_batch(connection, schedule=Schedule.CARBON, ranges=RANGES) for _ in range(2))
    leased = shard_id(first, 11, 20)
    take(connection, leased)
    placed = [a_plan(shard_id(batch, *lines)) for batch in (first, other) for lines in RANGES]
    plans.place(connection, placed, NOON)
    plans.place(connection, [a_plan(shard_id(first, 21, 25), release_at=NOON - HOUR)], NOON)
    send(connection, first)
    plans.release(connection, first.id, NOON + HOUR)
    assert rows(connection, "batch_id, release_at, sent_at") == sorted(
        [
            (first.id, NOON + HOUR, None),
            (first.id, NOON, NOON),
            (first.id, NOON - HOUR, NOON),
            *[(other.id, NOON + 5 * HOUR, None)] * 3,
        ],
        key=lambda row: row[0],
    )
    assert [batches.get(connection, TENANT, batch.id).schedule for batch in (first, other)] == ["asap", "carbon"]


def test_work_with_no_time_to_lose_is_rung_for_first(connection: Connection) -> None:
    old, new = store_batch(connection, ranges=RANGES), store_batch(connection, ranges=[(1, 10), (11, 20)])
    due = [
        a_plan(shard_id(new, 11, 20), release_at=NOON, start_by=NOON - HOUR),
        a_plan(shard_id(old, 21, 25), release_at=NOON, start_by=NOON),
        a_plan(shard_id(old, 11, 20), release_at=NOON, start_by=NOON + 2 * HOUR),
    ]
    plans.place(connection, due, NOON)
    found = rung_for(connection)
    assert list(found[:2]) == [shard_id(new, 11, 20), shard_id(old, 21, 25)]
    assert set(found[2:4]) == {shard_id(old, 1, 10), shard_id(new, 1, 10)}
    assert found[4] == shard_id(old, 11, 20)
    assert rung_for(connection) == []


def test_each_zone_has_a_line_of_its_own(connection: Connection) -> None:
    batch = store_batch(connection, ranges=RANGES)
    plans.place(connection, [a_plan(shard_id(batch, 11, 20), zone="B", release_at=NOON)], NOON)
    assert rung_for(connection, "B") == [shard_id(batch, 11, 20)]
    assert rung_for(connection, "C") == []
    home = rung_for(connection)
    assert home == [shard_id(batch, 1, 10), shard_id(batch, 21, 25)]


def test_a_worker_leases_only_what_is_in_its_zone_and_released(connection: Connection) -> None:
    batch = store_batch(connection, ranges=RANGES)
    plans.place(connection, [a_plan(shard_id(batch, 1, 10), zone="B", release_at=NOON)], NOON)
    plans.place(connection, [a_plan(shard_id(batch, 11, 20))], NOON)
    terms: dict[str, Any] = {"model": MODEL, "owner": "w", "now": NOON, "duration": HOUR}
    assert shards.lease(connection, shard_id(batch, 1, 10), **terms) is None
    assert shards.lease(connection, shard_id(batch, 11, 20), **terms) is None
    assert shards.lease(connection, shard_id(batch, 1, 10), place="B", **terms) is not None
    assert shards.lease(connection, shard_id(batch, 11, 20), **{**terms, "now": NOON + 5 * HOUR}) is not None
