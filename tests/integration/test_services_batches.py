from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from app.domain.batch import BatchStatus
from app.domain.errors import Conflict, InvalidInput, NotFound
from app.ports import Task
from app.services import batches, finalization, validation
from app.store import batches as stored
from app.store import files
from app.store.database import TENANT
from tests.support.clock import NOON
from tests.support.factories import ENDPOINT, a_file, line, store_batch
from tests.support.services import Desk, jsonl
from tests.support.waiting import eventually


def create(desk: Desk, **changes: object) -> stored.Batch:
    values = {
        "input_file_id": "file-unknown",
        "endpoint": ENDPOINT,
        "completion_window": "24h",
        "metadata": None,
        **changes,
    }
    return batches.create(desk.context, TENANT, **values)  # type: ignore[arg-type]


def in_status(desk: Desk, status: BatchStatus, **changes: object) -> stored.Batch:
    """A batch of three lines in two shards."""
    if status is BatchStatus.COMPLETED:
        changes["completed_at"] = NOON
    with desk.context.database.transaction() as connection:
        return store_batch(connection, lines=3, ranges=[(1, 2), (3, 3)], status=status, **changes)


def test_a_new_batch_waits_for_its_validation(desk: Desk) -> None:
    file = desk.upload(b"1")
    batch = create(desk, input_file_id=file.id, completion_window="2d", metadata={"mine": "x"})
    assert batch.status is BatchStatus.VALIDATING
    assert batch.expires_at - batch.created_at == timedelta(days=2)
    assert desk.batch(batch.id) == batch
    assert desk.dispatcher.sent == [(Task.VALIDATE, batch.id)]


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"endpoint": "/v1/images"}, "endpoint"),
        ({"completion_window": "5m"}, "completion_window"),
        ({"completion_window": "8d"}, "completion_window"),
        ({"metadata": {f"key{number}": "" for number in range(17)}}, "metadata"),
        ({"metadata": {"k" * 65: ""}}, f"metadata.{'k' * 64}"),
        ({"metadata": {"k": "v" * 513}}, "metadata.k"),
        ({"metadata": {"k": "nul \0"}}, "metadata.k"),
        ({"metadata": {"sprout_level": "L7"}}, "metadata.sprout_level"),
        ({"metadata": {"sprout_workload": "-"}}, "metadata.sprout_workload"),
    ],
)
def test_what_a_batch_cannot_be(desk: Desk, changes: Mapping[str, object], param: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        create(desk, input_file_id=desk.upload(b"1").id, **changes)
    assert refusal.value.param == param
    assert desk.rows("SELECT count(*) FROM batches") == [0]
    assert desk.dispatcher.sent == []


def test_metadata_at_its_limits(desk: Desk) -> None:
    metadata = {f"{number:064}": "v" * 512 for number in range(16)}
    assert desk.batch(create(desk, input_file_id=desk.upload(b"1").id, metadata=metadata).id).metadata == metadata


def test_a_batch_needs_its_input_file(desk: Desk) -> None:
    with pytest.raises(NotFound, match="file-unknown"):
        create(desk)
    with desk.context.database.transaction() as connection:
        output = a_file(purpose="batch_output")
        files.add(connection, output)
    with pytest.raises(InvalidInput, match="purpose 'batch'") as refusal:
        create(desk, input_file_id=output.id)
    assert refusal.value.param == "input_file_id"


def test_a_batch_is_kept_while_the_broker_is_away(desk: Desk) -> None:
    desk.dispatcher.away = True
    batch_id = desk.submit(jsonl([line()]))
    assert desk.batch(batch_id).status is BatchStatus.VALIDATING


def test_pages_follow_each_other(desk: Desk) -> None:
    ids = []
    for _ in range(5):
        ids.append(desk.submit(jsonl([line()])))
        desk.clock.advance(seconds=1)
    first, more = batches.newest(desk.context, TENANT, after=None, limit=2)
    assert ([batch.id for batch, _ in first], more) == ([ids[4], ids[3]], True)
    second, more = batches.newest(desk.context, TENANT, after=ids[3], limit=2)
    assert ([batch.id for batch, _ in second], more) == ([ids[2], ids[1]], True)
    last, more = batches.newest(desk.context, TENANT, after=ids[1], limit=2)
    assert ([batch.id for batch, _ in last], more) == ([ids[0]], False)


def test_pages_of_batches_made_in_one_instant_miss_none(desk: Desk) -> None:
    ids = {desk.submit(jsonl([line()])) for _ in range(7)}
    seen: list[str] = []
    more, after = True, None
    while more:
        page, more = batches.newest(desk.context, TENANT, after=after, limit=3)
        seen += [batch.id for batch, _ in page]
        after = seen[-1]
    assert len(seen) == 7
    assert set(seen) == ids


def test_an_unknown_batch(desk: Desk) -> None:
    batch_id = desk.submit(jsonl([line()]))
    for tenant, wanted in ((TENANT, "batch_unknown"), ("somebody", batch_id)):
        with pytest.raises(NotFound, match=wanted):
            batches.get(desk.context, tenant, wanted)
        with pytest.raises(NotFound, match=wanted):
            batches.cancel(desk.context, tenant, wanted)
        with pytest.raises(NotFound, match=wanted):
            batches.newest(desk.context, tenant, after=wanted, limit=2)
    assert desk.batch(batch_id).status is BatchStatus.VALIDATING


@pytest.mark.parametrize("status", [BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS])
def test_an_open_batch_can_be_cancelled(desk: Desk, status: BatchStatus) -> None:
    batch = in_status(desk, status)
    cancelled, _ = batches.cancel(desk.context, TENANT, batch.id)
    assert cancelled.status is BatchStatus.CANCELLING
    assert cancelled.cancelling_at == desk.clock.now()
    assert desk.rows("SELECT DISTINCT state FROM shards") == ["done"]
    assert desk.dispatcher.sent == [(Task.FINALIZE, batch.id)]
    finalization.finalize(desk.context, batch.id)
    assert desk.batch(batch.id).status is BatchStatus.CANCELLED


@pytest.mark.parametrize("status", [BatchStatus.CANCELLING, BatchStatus.CANCELLED])
def test_cancelling_twice_is_once(desk: Desk, status: BatchStatus) -> None:
    batch = in_status(desk, status)
    assert batches.cancel(desk.context, TENANT, batch.id)[0] == batch
    assert desk.dispatcher.sent == []


@pytest.mark.parametrize(
    "status", [BatchStatus.FAILED, BatchStatus.FINALIZING, BatchStatus.COMPLETED, BatchStatus.EXPIRED]
)
def test_what_has_ended_cannot_be_cancelled(desk: Desk, status: BatchStatus) -> None:
    batch = in_status(desk, status)
    with pytest.raises(Conflict, match=f"is {status} and can no longer be cancelled"):
        batches.cancel(desk.context, TENANT, batch.id)
    assert desk.batch(batch.id) == batch
    assert set(desk.rows("SELECT state FROM shards")) == {"pending"}


def test_cancelling_from_many_sides_at_once(desk: Desk) -> None:
    batch = in_status(desk, BatchStatus.IN_PROGRESS)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: batches.cancel(desk.context, TENANT, batch.id)[0].status, range(24)))
    assert set(found) == {BatchStatus.CANCELLING}
    assert desk.dispatcher.sent == [(Task.FINALIZE, batch.id)]


@pytest.mark.parametrize("meanwhile", [BatchStatus.CANCELLING, BatchStatus.FINALIZING])
def test_a_cancellation_that_comes_second_sees_what_came_first(desk: Desk, meanwhile: BatchStatus) -> None:
    batch = in_status(desk, BatchStatus.IN_PROGRESS)
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with ThreadPoolExecutor(1) as pool:
        with desk.context.database.transaction() as connection:
            stored.move(connection, batch.id, meanwhile, desk.clock.now())
            second = pool.submit(batches.cancel, desk.context, TENANT, batch.id)
            eventually(lambda: desk.rows(waiting) == [1])
        if meanwhile is BatchStatus.CANCELLING:
            assert second.result()[0].status is BatchStatus.CANCELLING
        else:
            with pytest.raises(Conflict, match="is finalizing and can no longer be cancelled"):
                second.result()


def test_a_cancellation_waits_for_a_validation_that_runs(desk: Desk) -> None:
    """Whichever comes first, the batch ends cancelled and no shard is left to run."""
    batch_id = desk.submit(jsonl(line(f"r{number}") for number in range(300)))
    with ThreadPoolExecutor(2) as pool:
        validated = pool.submit(validation.validate, desk.context, batch_id)
        pool.submit(batches.cancel, desk.context, TENANT, batch_id).result()
        validated.result()
    assert desk.batch(batch_id).status is BatchStatus.CANCELLING
    assert set(desk.rows("SELECT state FROM shards")) <= {"done"}


def test_a_slip_in_a_key_is_told(desk: Desk) -> None:
    """It would be ignored, and the batch would run otherwise than was meant."""
    with pytest.raises(InvalidInput, match=r"There is no 'sprout_schedul'.*sprout_schedule"):
        desk.submit(jsonl([line("a")]), metadata={"sprout_schedul": "carbon"})
