from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection

from app.domain.errors import Conflict, NotFound
from app.store import files
from app.store.blobs import FileStore
from app.store.ids import new_id
from tests.support.clock import NOON
from tests.support.factories import a_file, set_cells, store_batch


def test_a_file_comes_back_as_it_was_stored(connection: Connection) -> None:
    file = a_file(filename='Größe "x" \\ 🌱.jsonl', bytes=10**12)
    files.add(connection, file)
    assert files.get(connection, "default", file.id) == file


def test_newest_first_up_to_a_limit_and_by_purpose(connection: Connection) -> None:
    stored = [
        a_file(tenant_id="ours", created_at=NOON + timedelta(hours=hour), purpose=purpose)
        for hour, purpose in enumerate(("batch", "batch_output", "batch"))
    ]
    for file in (*stored, a_file(tenant_id="theirs", created_at=NOON + timedelta(days=1))):
        files.add(connection, file)
    assert files.newest(connection, "ours", purpose=None, after=None, limit=9) == stored[::-1]
    assert files.newest(connection, "ours", purpose=None, after=None, limit=1) == stored[2:]
    assert files.newest(connection, "ours", purpose="batch_output", after=None, limit=9) == [stored[1]]
    assert files.newest(connection, "ours", purpose="vision", after=None, limit=9) == []
    assert files.newest(connection, "ours", purpose=None, after=stored[2].id, limit=1) == [stored[1]]
    with pytest.raises(NotFound):
        files.newest(connection, "theirs", purpose=None, after=stored[2].id, limit=1)


def test_another_tenants_file_is_not_there(connection: Connection) -> None:
    file = a_file(tenant_id="theirs")
    files.add(connection, file)
    for ask in (files.get, files.remove):
        with pytest.raises(NotFound, match=f"There is no file '{file.id}'"):
            ask(connection, "ours", file.id)
    assert files.get(connection, "theirs", file.id) == file


def test_a_removed_file_is_gone(connection: Connection) -> None:
    file = a_file()
    files.add(connection, file)
    files.remove(connection, "default", file.id)
    with pytest.raises(NotFound):
        files.get(connection, "default", file.id)


@pytest.mark.parametrize("column", ["input_file_id", "output_file_id", "error_file_id"])
def test_a_file_stays_as_long_as_its_batch(connection: Connection, column: str) -> None:
    file, batch = a_file(), store_batch(connection)
    files.add(connection, file)
    set_cells(connection, batch.id, **{column: file.id})
    with pytest.raises(Conflict, match="belongs to a batch"):
        files.remove(connection, "default", file.id)
    assert files.get(connection, "default", file.id) == file


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "new" / "files")


def everything_in(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_content_appears_whole(store: FileStore, tmp_path: Path) -> None:
    with store.create("file-1") as file:
        file.write(b"one ")
        with pytest.raises(NotFound, match="content of file 'file-1' is no longer in"):
            store.path("file-1")
        file.write(b"two")
    assert store.path("file-1").read_bytes() == b"one two"
    assert everything_in(tmp_path / "new" / "files") == ["file-1"]


def test_content_that_was_not_finished_leaves_nothing(store: FileStore, tmp_path: Path) -> None:
    def fail() -> None:
        with store.create("file-1") as file:
            file.write(b"half")
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        fail()
    with pytest.raises(NotFound):
        store.path("file-1")
    assert everything_in(tmp_path / "new" / "files") == []


def test_content_is_replaced_as_a_whole(store: FileStore) -> None:
    for content in (b"first", b"second"):
        with store.create("file-1") as file:
            file.write(content)
    assert store.path("file-1").read_bytes() == b"second"


def test_content_is_removed_once_or_twice(store: FileStore) -> None:
    with store.create("file-1") as file:
        file.write(b"x")
    store.remove("file-1")
    store.remove("file-1")
    with pytest.raises(NotFound):
        store.path("file-1")


def test_content_outlives_the_store(store: FileStore, tmp_path: Path) -> None:
    with store.create("file-1") as file:
        file.write(b"x")
    assert FileStore(tmp_path / "new" / "files").path("file-1").read_bytes() == b"x"


def test_ids_are_long_and_different() -> None:
    ids = {new_id("batch_") for _ in range(1000)}
    assert len(ids) == 1000
    assert all(each.startswith("batch_") and len(each) == len("batch_") + 24 for each in ids)
