from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, text

from app.domain.batch import MOVES, BatchStatus
from app.domain.errors import NotFound
from app.store import batches, results, shards
from app.store.batches import Batch
from app.store.database import Database
from tests.support.clock import NOON
from tests.support.factories import a_result, set_cells, shard_id, store_batch

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


def with_status(connection: Connection, status: BatchStatus, **changes: Any) -> Batch:
    times = {"completed_at": NOON} if status is BatchStatus.COMPLETED else {}
    return store_batch(connection, status=status, **{**times, **changes})


def test_a_batch_comes_back_as_it_was_stored(connection: Connection) -> None:
    errors = [{"code": "x", "message": 'Zeile 3: "Größe" \\ 🌱\n', "param": None, "line": 3}]
    batch = store_batch(
        connection,
        metadata={"sprout_workload": "news", "Straße": "ä\t\"'\\ 🌱"},
        errors=errors,
        usage={"total_tokens": 5, "nested": {"a": [1, None]}},
        model="m",
        total=7,
        sent_at=NOON,
    )
    assert batches.get(connection, "default", batch.id) == batches.find(connection, batch.id) == batch


def test_what_is_not_there(connection: Connection) -> None:
    with pytest.raises(NotFound, match="There is no batch 'batch_0'"):
        batches.get(connection, "default", "batch_0")
    assert batches.find(connection, "batch_0") is None


@pytest.mark.parametrize("source", BatchStatus)
@pytest.mark.parametrize("target", [status for status in BatchStatus if status is not BatchStatus.VALIDATING])
def test_only_legal_moves_are_made(connection: Connection, source: BatchStatus, target: BatchStatus) -> None:
    batch = with_status(connection, source, sent_at=NOON)
    moved = batches.move(connection, batch.id, target, NOON + HOUR)
    found = batches.get(connection, "default", batch.id)
    assert moved == (target in MOVES[source])
    if moved:
        assert (found.status, getattr(found, f"{target}_at"), found.sent_at) == (target, NOON + HOUR, None)
    else:
        assert found == batch


def test_a_move_takes_further_values(connection: Connection) -> None:
    batch = store_batch(connection)
    assert batches.move(connection, batch.id, BatchStatus.FINALIZING, NOON, sent_at=NOON, total=5)
    found = batches.get(connection, "default", batch.id)
    assert (found.status, found.sent_at, found.total) == (BatchStatus.FINALIZING, NOON, 5)


def test_a_batch_that_is_not_there_does_not_move(connection: Connection) -> None:
    assert not batches.move(connection, "batch_0", BatchStatus.FINALIZING, NOON)


def test_pages_go_from_new_to_old_without_gaps(connection: Connection) -> None:
    moments = [NOON, NOON, NOON, NOON + HOUR, NOON - HOUR]
    stored = [store_batch(connection, tenant_id="pages", created_at=moment) for moment in moments]
    everything = [found.id for found in batches.newest(connection, "pages", after=None, limit=10)]
    assert everything[0] == stored[3].id
    assert everything[-1] == stored[4].id
    assert set(everything) == {batch.id for batch in stored}
    paged: list[str] = []
    while page := batches.newest(connection, "pages", after=paged[-1] if paged else None, limit=2):
        paged += [found.id for found in page]
    assert paged == everything


def test_a_page_behind_a_batch_that_is_not_there(connection: Connection) -> None:
    with pytest.raises(NotFound):
        batches.newest(connection, "default", after="batch_0", limit=2)


def test_another_tenants_batches_are_not_there(connection: Connection) -> None:
    ours, theirs = (store_batch(connection, tenant_id=tenant) for tenant in ("ours", "theirs"))
    assert [found.id for found in batches.newest(connection, "ours", after=None, limit=9)] == [ours.id]
    for ask in (
        lambda: batches.get(connection, "ours", theirs.id),
        lambda: batches.newest(connection, "ours", after=theirs.id, limit=9),
    ):
        with pytest.raises(NotFound):
            ask()
    assert batches.find(connection, theirs.id) == theirs


def due(connection: Connection, at: timedelta, status: BatchStatus = BatchStatus.VALIDATING) -> list[str]:
    return list(batches.due(connection, status, now=NOON + at, resend=MINUTE))


def test_a_task_that_was_never_sent_or_long_ago_is_due(connection: Connection) -> None:
    never = with_status(connection, BatchStatus.VALIDATING)
    sent = with_status(connection, BatchStatus.VALIDATING, sent_at=NOON)
    with_status(connection, BatchStatus.IN_PROGRESS)
    assert due(connection, timedelta(0)) == [never.id]
    assert due(connection, MINUTE) == []
    assert set(due(connection, 1.01 * MINUTE)) == {never.id, sent.id}
    assert due(connection, 2 * MINUTE) == []
    assert due(connection, timedelta(0), BatchStatus.FINALIZING) == []


def test_a_batch_is_worked_on_by_one_at_a_time(database: Database) -> None:
    with database.transaction() as connection:
        batch = with_status(connection, BatchStatus.VALIDATING)
    with database.transaction() as worker, database.transaction() as bell:
        assert batches.claim(worker, batch.id)
        assert not batches.claim(bell, batch.id)
        assert due(bell, HOUR) == [batch.id]  # whoever is rung for it finds it claimed
    with database.transaction() as bell:
        assert batches.claim(bell, batch.id)


def test_open_batches_are_overdue_when_their_window_has_passed(connection: Connection) -> None:
    overdue = {
        with_status(connection, status, expires_at=NOON).id
        for status in (BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS)
    }
    for status in BatchStatus:
        with_status(connection, status, expires_at=NOON + timedelta(microseconds=1))
        if status not in (BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS):
            with_status(connection, status, expires_at=NOON - HOUR)
    assert set(batches.overdue(connection, NOON)) == overdue


def test_a_batch_is_answered_when_its_last_shard_is_done(connection: Connection) -> None:
    batch = store_batch(connection, lines=2, ranges=[(1, 1), (2, 2)])
    with_status(connection, BatchStatus.CANCELLING)
    assert batches.answered(connection) == []
    shards.close(connection, shard_id(batch, 1, 1))
    assert batches.answered(connection) == []
    shards.close(connection, shard_id(batch, 2, 2))
    assert batches.answered(connection) == [batch.id]


def test_cells(connection: Connection) -> None:
    batch, other = store_batch(connection), store_batch(connection)
    set_cells(connection, batch.id, model="m", usage={"total_tokens": 1})
    found = batches.get(connection, "default", batch.id)
    assert (found.model, found.usage) == ("m", {"total_tokens": 1})
    assert batches.get(connection, "default", other.id) == other


def test_times_come_back_in_utc(connection: Connection) -> None:
    batch = store_batch(connection)
    created_at = batches.get(connection, "default", batch.id).created_at
    assert created_at.utcoffset() == timedelta(0)
    assert created_at == NOON


def test_what_belongs_to_a_batch_goes_with_it(connection: Connection) -> None:
    batch = store_batch(connection, lines=2, ranges=[(1, 2)])
    results.record(connection, [a_result(batch, 1)])
    connection.execute(text("DELETE FROM batches"))
    for table in ("requests", "shards", "results", "responses"):
        assert connection.execute(text(f"SELECT count(*) FROM {table}")).scalar() == 0
