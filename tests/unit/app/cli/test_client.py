from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.cli import client as client_module
from app.cli.client import Client
from app.domain.errors import ConfigurationError, InvalidInput, ServiceUnavailable
from tests.support.web import Answer, Asked, as_json, serving


@pytest.fixture(autouse=True)
def _brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "RETRY_S", 0.01)


def script(*answers: Answer) -> tuple[list[Asked], Iterator[Answer]]:
    return [], iter(answers)


@pytest.mark.parametrize("url", ["", "127.0.0.1:8000", "ftp://127.0.0.1", "localhost", "http://a:b"])
def test_what_is_not_an_address(url: str) -> None:
    with pytest.raises(ConfigurationError, match="SPROUT_API_URL="):
        Client(url, key=None)


def test_an_api_that_is_not_there_is_told_at_once(unused_url: str) -> None:
    started = time.monotonic()
    with Client(unused_url, key=None) as client, pytest.raises(ServiceUnavailable) as refusal:
        client.batches()
    assert time.monotonic() - started < 5
    assert unused_url in refusal.value.message
    assert "`sprout up`" in refusal.value.message


@pytest.fixture
def unused_url() -> str:
    with serving(lambda _: Answer()) as url:
        return url


def test_an_api_that_is_restarted_is_waited_for() -> None:
    answers = iter(
        [as_json({"data": []}), *[as_json({"error": {"message": "It is away."}}, 503)] * 3, as_json({"id": 7})]
    )
    with serving(lambda _: next(answers)) as url, Client(url, key=None) as client:
        assert client.batches() == []
        assert client.batch("batch_1") == {"id": 7}


def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "PATIENCE_S", 0.05)
    answers = iter([as_json({"data": []})])
    away = as_json({"error": {"message": "PostgreSQL does not answer."}}, 503)
    with serving(lambda _: next(answers, away)) as url, Client(url, key=None) as client:
        client.batches()
        with pytest.raises(ServiceUnavailable, match="PostgreSQL does not answer"):
            client.batch("batch_1")


def test_a_refusal_is_in_the_api_s_own_words() -> None:
    with (
        serving(lambda _: as_json({"error": {"message": "There is no batch 'x'."}}, 404)) as url,
        Client(url, key=None) as client,
        pytest.raises(InvalidInput, match=r"^There is no batch 'x'\.$"),
    ):
        client.batch("x")


@pytest.mark.parametrize("content", [b"<html>nginx</html>", b"[]", b'{"error": "no"}', b"\xff"])
def test_a_refusal_by_something_else(content: bytes) -> None:
    with (
        serving(lambda _: Answer(status=404, content=content)) as url,
        Client(url, key=None) as client,
        pytest.raises(InvalidInput, match="The API answered 404"),
    ):
        client.batch("x")


def test_something_else_answers_at_the_address() -> None:
    with (
        serving(lambda _: Answer(content=b"<html>Welcome</html>")) as url,
        Client(url, key=None) as client,
        pytest.raises(ConfigurationError, match="is not Sprout's API: set SPROUT_API_URL"),
    ):
        client.model()


@pytest.mark.parametrize(("key", "sent"), [("sésame", "Bearer sésame"), (None, None)])
def test_the_key_is_sent(key: str | None, sent: str | None) -> None:
    asked: list[Asked] = []

    def answer(request: Asked) -> Answer:
        asked.append(request)
        return as_json({"data": []})

    with serving(answer) as url, Client(url, key=key) as client:
        client.batches()
    given = asked[0].headers["Authorization"]
    assert (None if given is None else given.encode("latin-1").decode()) == sent


def test_uploading_and_creating(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_bytes(b"content")
    asked: list[Asked] = []

    def answer(request: Asked) -> Answer:
        asked.append(request)
        return as_json({"id": f"id-{len(asked)}"})

    with serving(answer) as url, Client(url, key=None) as client:
        assert client.upload(source, "name.jsonl") == "id-1"
        assert client.create("file-1", endpoint="/v1/responses", window="2h", metadata={"a": "b"}) == {"id": "id-2"}
    upload, create = asked
    assert (upload.method, upload.path) == ("POST", "/v1/files")
    for piece in (b'name="purpose"\r\n\r\nbatch', b'filename="name.jsonl"', b"content"):
        assert piece in upload.body
    assert create.path == "/v1/batches"
    assert json.loads(create.body) == {
        "input_file_id": "file-1",
        "endpoint": "/v1/responses",
        "completion_window": "2h",
        "metadata": {"a": "b"},
    }


def test_watching_ends_with_the_batch() -> None:
    states = ["validating", "in_progress", "in_progress", "finalizing", "completed", "never asked for"]
    answers = iter([as_json({"status": status}) for status in states])
    with serving(lambda _: next(answers)) as url, Client(url, key=None) as client:
        assert [state["status"] for state in client.watch("batch_1")] == states[:-1]


def test_a_download_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    content = bytes(range(256)) * 10_000
    with serving(lambda _: Answer(content=content)) as url, Client(url, key=None) as client:
        client.download("file-1", target)
    assert target.read_bytes() == content
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer(content=b"half", announced=1000), ServiceUnavailable),
        (as_json({"error": {"message": "There is no file."}}, 404), InvalidInput),
        (as_json({"error": {"message": "It is away."}}, 503), ServiceUnavailable),
    ],
)
def test_a_download_that_breaks_off_leaves_what_was_there(
    tmp_path: Path, answer: Answer, error: type[Exception]
) -> None:
    target = tmp_path / "out.jsonl"
    target.write_text("before")
    with serving(lambda _: answer) as url, Client(url, key=None) as client, pytest.raises(error):
        client.download("file-1", target)
    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]
