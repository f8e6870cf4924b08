from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection

from app.domain.batch import BatchStatus
from app.domain.errors import Conflict, NotFound
from app.domain.intensity import HOUR
from app.store import batches, files
from app.store.blobs import FolderStore
from app.store.ids import new_id
from tests.support.clock import NOON
from tests.support.factories import a_file, set_cells, store_batch


def test_a_file_comes_back_as_it_was_stored(connection: Connection) -> None:
    file = a_file(filename='Größe "x" \\ 🌱.jsonl', bytes=10**12)
    files.add(connection, file)
    assert files.get(connection, "default", file.id, NOON) == file


def test_newest_first_up_to_a_limit_and_by_purpose(connection: Connection) -> None:
    stored = [
        a_file(tenant_id="ours", created_at=NOON + timedelta(hours=hour), purpose=purpose)
        for hour, purpose in enumerate(("batch", "batch_output", "batch"))
    ]
    for file in (*stored, a_file(tenant_id="theirs", created_at=NOON + timedelta(days=1))):
        files.add(connection, file)
    assert files.page(connection, "ours", NOON, purpose=None, after=None, limit=9) == stored[::-1]
    assert files.page(connection, "ours", NOON, purpose=None, after=None, limit=1) == stored[2:]
    assert files.page(connection, "ours", NOON, purpose="batch_output", after=None, limit=9) == [stored[1]]
    assert files.page(connection, "ours", NOON, purpose="vision", after=None, limit=9) == []
    assert files.page(connection, "ours", NOON, purpose=None, after=stored[2].id, limit=1) == [stored[1]]
    with pytest.raises(NotFound):
        files.page(connection, "theirs", NOON, purpose=None, after=stored[2].id, limit=1)


def test_another_tenants_file_is_not_there(connection: Connection) -> None:
    file = a_file(tenant_id="theirs")
    files.add(connection, file)
    for ask in (files.get, files.remove):
        with pytest.raises(NotFound, match=f"There is no file '{file.id}'"):
            ask(connection, "ours", file.id, NOON)
    assert files.get(connection, "theirs", file.id, NOON) == file


def test_a_removed_file_is_gone(connection: Connection) -> None:
    file = a_file()
    files.add(connection, file)
    files.remove(connection, "default", file.id, NOON)
    with pytest.raises(NotFound):
        files.get(connection, "default", file.id, NOON)


@pytest.mark.parametrize("column", ["input_file_id", "output_file_id", "error_file_id"])
def test_a_file_stays_as_long_as_its_batch_runs(connection: Connection, column: str) -> None:
    file, batch = a_file(), store_batch(connection)
    files.add(connection, file)
    set_cells(connection, batch.id, **{column: file.id})
    with pytest.raises(Conflict, match="belongs to a batch that has not ended"):
        files.remove(connection, "default", file.id, NOON)
    assert files.get(connection, "default", file.id, NOON) == file


@pytest.mark.parametrize("column", ["input_file_id", "output_file_id", "error_file_id"])
def test_a_file_of_an_ended_batch_can_be_removed_and_is_named_on(connection: Connection, column: str) -> None:
    file, batch = a_file(), store_batch(connection)
    files.add(connection, file)
    set_cells(connection, batch.id, **{column: file.id, "status": BatchStatus.CANCELLED})
    files.remove(connection, "default", file.id, NOON)
    with pytest.raises(NotFound):
        files.get(connection, "default", file.id, NOON)
    assert getattr(batches.get(connection, "default", batch.id), column) == file.id


def test_an_expired_file_is_not_there(connection: Connection) -> None:
    file, other = a_file(expires_at=NOON + HOUR), a_file()
    for each in (file, other):
        files.add(connection, each)
    assert files.get(connection, "default", file.id, NOON) == file
    for now in (NOON + HOUR, NOON + 2 * HOUR):
        for ask in (files.get, files.remove):
            with pytest.raises(NotFound, match=f"There is no file '{file.id}'"):
                ask(connection, "default", file.id, now)
        assert files.page(connection, "default", now, purpose=None, after=None, limit=9) == [other]
        with pytest.raises(NotFound):
            files.page(connection, "default", now, purpose=None, after=file.id, limit=9)


def test_oldest_first(connection: Connection) -> None:
    stored = [a_file(created_at=NOON + number // 2 * HOUR) for number in range(4)]
    for file in stored:
        files.add(connection, file)
    seen: list[str] = []
    for after in (None, stored[0].id, stored[1].id, stored[2].id, stored[3].id):
        seen += [
            file.id
            for file in files.page(connection, "default", NOON, purpose=None, after=after, limit=1, oldest_first=True)
        ]
    assert seen == [file.id for file in stored]


def test_a_folder_holds_its_files_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "files"
    store = FolderStore(folder)

    def fail() -> None:
        with store.create("file-2") as file:
            file.write(b"half")
            raise OSError("the disk is full")

    with store.create("file-1") as file:
        file.write(b"x")
    with pytest.raises(OSError, match="full"):
        fail()
    assert os.listdir(folder) == ["file-1"]
    with FolderStore(folder).open("file-1") as again:
        assert again.read() == b"x"


def test_ids_are_long_and_different() -> None:
    ids = {new_id("batch_") for _ in range(1000)}
    assert len(ids) == 1000
    assert all(each.startswith("batch_") and len(each) == len("batch_") + 24 for each in ids)
