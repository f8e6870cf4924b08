from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from app.domain.errors import Conflict, InvalidInput, NotFound, ServiceUnavailable
from app.services import files
from app.services.files import Described
from app.store.blobs import ObjectStore
from app.store.database import TENANT
from tests.support.engine import EchoEngine
from tests.support.factories import line
from tests.support.services import Desk, Desks, FailingDatabase, jsonl


def upload(desk: Desk, *chunks: bytes, purpose: str = "batch") -> files.File:
    return files.upload(desk.context, TENANT, chunks=chunks, describe=lambda: Described("in.jsonl", purpose))


def nothing_is_left(desk: Desk) -> bool:
    return desk.stored_files() == set() and desk.rows("SELECT id FROM files") == []


def test_an_upload_can_be_read_again(desk: Desk) -> None:
    file = upload(desk, b"one\n", b"", b"two\n")
    found, content = files.content(desk.context, TENANT, file.id)
    assert found == file == files.get(desk.context, TENANT, file.id)
    assert (found.bytes, found.purpose, found.filename, found.created_at) == (8, "batch", "in.jsonl", desk.clock.now())
    with content:
        assert content.read() == b"one\ntwo\n"


def test_the_newest_file_comes_first(desk: Desk) -> None:
    first = upload(desk, b"1")
    desk.clock.advance(seconds=1)
    second = upload(desk, b"2")
    assert files.page(desk.context, TENANT, purpose=None, after=None, limit=10) == ([second, first], False)
    assert files.page(desk.context, TENANT, purpose="batch", after=None, limit=1) == ([second], True)
    assert files.page(desk.context, TENANT, purpose="batch_output", after=None, limit=10) == ([], False)


@pytest.mark.parametrize("purpose", ["fine-tune", "batch_output", ""])
def test_only_batch_input_can_be_uploaded(desk: Desk, purpose: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        upload(desk, b"1", purpose=purpose)
    assert refusal.value.param == "purpose"
    assert nothing_is_left(desk)


@pytest.mark.parametrize("chunks", [(), (b"",), (b"", b"")])
def test_an_empty_upload_is_refused(desk: Desk, chunks: tuple[bytes, ...]) -> None:
    with pytest.raises(InvalidInput, match="empty") as refusal:
        upload(desk, *chunks)
    assert refusal.value.code == "empty_file"
    assert nothing_is_left(desk)


def test_a_file_of_the_largest_size_is_taken(desks: Desks) -> None:
    assert upload(desks.desk(max_file_bytes=10), b"12345", b"67890").bytes == 10


def test_an_upload_over_the_limit_is_read_no_further(desks: Desks) -> None:
    desk = desks.desk(max_file_bytes=10)
    read = []

    def endless() -> Iterator[bytes]:
        while True:
            read.append(4)
            yield b"1234"

    with pytest.raises(InvalidInput, match="larger than 10 bytes: split") as refusal:
        files.upload(desk.context, TENANT, chunks=endless(), describe=lambda: Described("in.jsonl", "batch"))
    assert refusal.value.param == "file"
    assert sum(read) == 12
    assert nothing_is_left(desk)


def test_an_upload_that_breaks_off_leaves_nothing(desk: Desk) -> None:
    def broken() -> Iterator[bytes]:
        yield b"1234"
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        files.upload(desk.context, TENANT, chunks=broken(), describe=lambda: Described("in.jsonl", "batch"))
    assert nothing_is_left(desk)


def test_a_file_is_kept_where_the_settings_say(desks: Desks) -> None:
    """Everything that reads or writes files does so through the port."""
    desk = desks.desk()
    desk = replace(desk, context=replace(desk.context, files=ObjectStore(f"memory://{desks.home}")))
    batch_id = desk.submit(jsonl([line("a"), line("b", text="[refuse]")]))
    desk.work(desk.worker(EchoEngine()))
    batch = desk.batch(batch_id)
    assert [desk.lines(each)[0]["custom_id"] for each in (batch.output_file_id, batch.error_file_id)] == ["a", "b"]
    for file_id in (batch.input_file_id, batch.output_file_id, batch.error_file_id):
        files.delete(desk.context, TENANT, str(file_id))
    assert desk.stored_files() == set()


def test_bytes_do_not_outlive_a_database_failure(desks: Desks) -> None:
    database = FailingDatabase(desks.database)
    database.failures = 1
    desk = Desks(database=database, clock=desks.clock, dispatcher=desks.dispatcher, home=desks.home).desk()
    with pytest.raises(ServiceUnavailable):
        upload(desk, b"1")
    assert database.refused == 1
    assert nothing_is_left(desk)


def test_a_deleted_file_is_gone(desk: Desk) -> None:
    file = upload(desk, b"1")
    files.delete(desk.context, TENANT, file.id)
    assert nothing_is_left(desk)
    with pytest.raises(NotFound):
        files.content(desk.context, TENANT, file.id)
    with pytest.raises(NotFound):
        files.delete(desk.context, TENANT, file.id)


def test_a_file_of_a_running_batch_stays(desk: Desk) -> None:
    batch = desk.batch(desk.submit(jsonl([line()])))
    with pytest.raises(Conflict, match=f"{batch.input_file_id}' belongs to a batch that has not ended"):
        files.delete(desk.context, TENANT, batch.input_file_id)
    assert desk.stored_files() == {batch.input_file_id}
    assert desk.rows("SELECT id FROM files") == [batch.input_file_id]


def test_another_tenant_sees_no_file(desk: Desk) -> None:
    file = upload(desk, b"1")
    with pytest.raises(NotFound):
        files.content(desk.context, "somebody", file.id)
    with pytest.raises(NotFound):
        files.delete(desk.context, "somebody", file.id)
    assert files.page(desk.context, "somebody", purpose=None, after=None, limit=10) == ([], False)


def test_a_file_whose_bytes_were_removed_says_so(desk: Desk) -> None:
    file = upload(desk, b"1")
    desk.context.files.remove(file.id)
    with pytest.raises(NotFound, match="no longer in"):
        files.content(desk.context, TENANT, file.id)
