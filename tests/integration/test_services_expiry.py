"""Files that end by themselves, and what must not lose its files meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from app.domain.batch import BatchStatus
from app.domain.errors import Conflict, NotFound
from app.services import batches, files, finalization, validation
from app.services.files import Described
from app.services.reconciliation import reconcile
from app.store import batches as stored_batches
from app.store import files as stored_files
from app.store.blobs import FolderStore
from app.store.database import TENANT
from app.store.files import File
from tests.support.engine import EchoEngine
from tests.support.factories import ENDPOINT, a_batch, line
from tests.support.services import Desk, jsonl
from tests.support.waiting import eventually

HOUR = timedelta(hours=1)


def upload(desk: Desk, content: bytes, expires_after: timedelta | None = HOUR) -> File:
    said = Described("in.jsonl", "batch", expires_after)
    return files.upload(desk.context, TENANT, chunks=[content], describe=lambda: said)


def create(desk: Desk, file: File, output_expires_after_s: int | None = None) -> str:
    return batches.create(
        desk.context,
        TENANT,
        input_file_id=file.id,
        endpoint=ENDPOINT,
        completion_window="24h",
        metadata=None,
        output_expires_after_s=output_expires_after_s,
    ).id


def test_an_expired_file_is_removed_with_its_bytes(desk: Desk) -> None:
    short, kept = upload(desk, b"1"), upload(desk, b"2", None)
    long = upload(desk, b"3", HOUR + timedelta(seconds=1))
    assert (short.expires_at, kept.expires_at) == (desk.clock.now() + HOUR, None)
    reconcile(desk.context)
    assert desk.stored_files() == {short.id, kept.id, long.id}
    desk.clock.advance(HOUR)
    with pytest.raises(NotFound):
        files.get(desk.context, TENANT, short.id)
    with pytest.raises(NotFound):
        create(desk, short)
    for _ in range(2):
        reconcile(desk.context)
        assert desk.stored_files() == {kept.id, long.id} == set(desk.rows("SELECT id FROM files"))


def test_the_input_of_a_batch_outlives_its_time_until_the_batch_has_ended(desk: Desk) -> None:
    file = upload(desk, jsonl([line()]))
    batch_id = create(desk, file)
    desk.clock.advance(2 * HOUR)
    reconcile(desk.context)
    assert desk.stored_files() == {file.id}
    with pytest.raises(NotFound):
        files.content(desk.context, TENANT, file.id)
    validation.validate(desk.context, batch_id)
    reconcile(desk.context)
    assert desk.stored_files() == {file.id}
    desk.work(desk.worker(EchoEngine()))
    batch = desk.batch(batch_id)
    assert (batch.status, batch.completed) == (BatchStatus.COMPLETED, 1)
    reconcile(desk.context)
    assert desk.stored_files() == {batch.output_file_id}
    assert batch.input_file_id == file.id


def test_output_and_error_files_are_kept_from_their_own_creation_on(desk: Desk) -> None:
    batch_id = create(desk, upload(desk, jsonl([line("a"), line("b", text="[refuse]")]), None), 3600)
    desk.clock.advance(2 * HOUR)
    desk.work(desk.worker(EchoEngine()))
    ended = desk.batch(batch_id)
    ids = {str(ended.output_file_id), str(ended.error_file_id)}
    assert {files.get(desk.context, TENANT, each).expires_at for each in ids} == {desk.clock.now() + HOUR}
    desk.clock.advance(HOUR)
    reconcile(desk.context)
    assert desk.stored_files() == {ended.input_file_id}
    assert desk.batch(batch_id) == ended
    finalization.finalize(desk.context, batch_id)
    assert desk.stored_files() == {ended.input_file_id}


class Unwilling:
    """A file store that cannot remove one of its files."""

    def __init__(self, store: FolderStore, kept: str) -> None:
        self._store = store
        self._kept = kept
        self.create = store.create
        self.open = store.open

    def remove(self, file_id: str) -> None:
        if file_id == self._kept:
            raise PermissionError(f"{file_id} is write-protected")
        self._store.remove(file_id)


def test_a_file_that_cannot_be_removed_keeps_no_other_and_is_tried_again(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = upload(desk, b"1"), upload(desk, b"2")
    desk.clock.advance(HOUR)
    store = FolderStore(desk.context.settings.home / "files")
    reconcile(replace(desk.context, files=Unwilling(store, first.id)))
    assert desk.stored_files() == {first.id} == set(desk.rows("SELECT id FROM files"))
    assert f"the expired file {first.id} cannot be removed" in caplog.text
    assert second.id not in caplog.text
    reconcile(desk.context)
    assert desk.stored_files() == set() == set(desk.rows("SELECT id FROM files"))


def test_a_file_is_not_removed_while_a_batch_of_it_is_being_created(desk: Desk) -> None:
    file, expiring = upload(desk, b"1", None), upload(desk, b"2")
    now = desk.clock.now()
    with ThreadPoolExecutor() as pool, desk.context.database.transaction() as connection:
        for each in (file, expiring):
            stored_files.get(connection, TENANT, each.id, now, keep=True)
        deletion = pool.submit(files.delete, desk.context, TENANT, file.id)
        eventually(lambda: desk.rows("SELECT 1 FROM pg_locks WHERE NOT granted"))
        desk.clock.advance(HOUR)
        reconcile(desk.context)
        for each in (file, expiring):
            stored_batches.add(connection, a_batch(input_file_id=each.id, status=BatchStatus.VALIDATING))
        connection.commit()
        with pytest.raises(Conflict):
            deletion.result(timeout=10)
    reconcile(desk.context)
    assert desk.stored_files() == {file.id, expiring.id}


def test_a_batch_of_a_file_that_is_being_removed_is_refused(desk: Desk) -> None:
    file = upload(desk, jsonl([line()]), None)
    with ThreadPoolExecutor() as pool, desk.context.database.transaction() as connection:
        stored_files.remove(connection, TENANT, file.id, desk.clock.now())
        creation = pool.submit(create, desk, file)
        eventually(lambda: desk.rows("SELECT 1 FROM pg_locks WHERE NOT granted"))
        connection.commit()
        with pytest.raises(NotFound):
            creation.result(timeout=10)
    assert desk.rows("SELECT id FROM batches") == []


def test_two_who_delete_at_once_are_told_once(desk: Desk) -> None:
    file = upload(desk, b"1", None)

    def outcomes() -> Iterator[str]:
        with ThreadPoolExecutor() as pool:
            for each in [pool.submit(files.delete, desk.context, TENANT, file.id) for _ in range(4)]:
                yield "deleted" if each.exception() is None else type(each.exception()).__name__

    assert sorted(outcomes()) == ["NotFound"] * 3 + ["deleted"]


def test_a_deletion_that_is_not_stored_can_be_repeated(desk: Desk) -> None:
    """Bytes first: a row without bytes can still be deleted, bytes without a row would stay for ever."""
    file = upload(desk, b"1", None)
    desk.context.files.remove(file.id)
    files.delete(desk.context, TENANT, file.id)
    assert desk.rows("SELECT id FROM files") == []
