"""What every `FileStore` does. SPROUT_TEST_FILES_URL names one more, such as a bucket that may be written to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.domain.errors import ConfigurationError, NotFound
from app.ports import FileStore
from app.store.blobs import PART_BYTES, FolderStore, ObjectStore
from app.store.ids import new_id

URL = os.environ.get("SPROUT_TEST_FILES_URL")


@pytest.fixture(params=["folder", "memory", *(["given"] if URL else [])])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> FileStore:
    match request.param:
        case "folder":
            return FolderStore(tmp_path / "new" / "files")
        case "memory":
            return ObjectStore(f"memory://{tmp_path}/files")
        case _:
            return ObjectStore(str(URL))


@pytest.fixture
def file_id(store: FileStore) -> Iterator[str]:
    made = new_id("file-")
    yield made
    store.remove(made)


def put(store: FileStore, file_id: str, *chunks: bytes) -> None:
    with store.create(file_id) as file:
        for chunk in chunks:
            file.write(chunk)


def content(store: FileStore, file_id: str) -> bytes:
    with store.open(file_id) as file:
        return file.read()


def test_what_was_written_is_read(store: FileStore, file_id: str) -> None:
    put(store, file_id, b"one ", b"", b"two")
    assert content(store, file_id) == b"one two"


def test_an_empty_file_is_one(store: FileStore, file_id: str) -> None:
    put(store, file_id)
    assert content(store, file_id) == b""


def test_a_file_of_several_parts(store: FileStore, file_id: str) -> None:
    chunk = bytes(range(256)) * 1000
    chunks = [chunk] * (2 * PART_BYTES // len(chunk) + 3)
    put(store, file_id, *chunks)
    assert content(store, file_id) == b"".join(chunks)


def test_a_range_and_lines_of_it(store: FileStore, file_id: str) -> None:
    put(store, file_id, b"first\nsecond line\nthird")
    with store.open(file_id) as file:
        assert file.seek(6) == 6
        assert file.read(6) == b"second"
        file.seek(0)
        assert [file.readline(3), file.readline(), file.readline(100), *file] == [
            b"fir", b"st\n", b"second line\n", b"third",
        ]  # fmt: skip


def test_writing_that_fails_leaves_nothing(store: FileStore, file_id: str) -> None:
    def fail(written: int) -> None:
        with store.create(file_id) as file:
            file.write(b"x" * written)
            raise OSError("the disk is full")

    for written in (0, 4, PART_BYTES + 1):
        with pytest.raises(OSError, match="full"):
            fail(written)
        with pytest.raises(NotFound, match=f"content of file '{file_id}' is no longer in"):
            store.open(file_id)


def test_a_file_is_replaced_as_a_whole(store: FileStore, file_id: str) -> None:
    put(store, file_id, b"the first")
    put(store, file_id, b"second")
    assert content(store, file_id) == b"second"


def test_a_file_is_removed_once_or_twice(store: FileStore, file_id: str) -> None:
    put(store, file_id, b"x")
    store.remove(file_id)
    store.remove(file_id)
    with pytest.raises(NotFound):
        store.open(file_id)


def test_several_write_at_once(store: FileStore) -> None:
    ids = [new_id("file-") for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda each: put(store, each, each.encode() * 1000), ids))
        assert list(pool.map(lambda each: content(store, each), ids)) == [each.encode() * 1000 for each in ids]
    for each in ids:
        store.remove(each)


def test_nothing_is_there_before_it_is_whole(tmp_path: Path) -> None:
    """Not of `memory`, which shows at once what is written."""
    stores: list[FileStore] = [FolderStore(tmp_path), *([ObjectStore(URL)] if URL else [])]
    for store in stores:
        file_id = new_id("file-")
        with store.create(file_id) as file:
            file.write(b"x" * (PART_BYTES + 1))
            with pytest.raises(NotFound):
                store.open(file_id)
        assert len(content(store, file_id)) == PART_BYTES + 1
        store.remove(file_id)


@pytest.mark.parametrize("url", ["nothing://bucket", "s4://bucket/prefix"])
def test_an_address_of_an_unknown_kind(url: str) -> None:
    with pytest.raises(ConfigurationError, match=f"SPROUT_FILES_URL={url} cannot be used: Protocol not known"):
        ObjectStore(url)
