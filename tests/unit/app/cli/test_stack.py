from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from app.cli.stack import connect, database_url
from app.domain.errors import ConfigurationError, ServiceUnavailable
from app.embedded.home import Home
from tests.support.services import some_settings
from tests.support.web import Answer, as_json, serving

MODELS = as_json({"data": [{"id": "m"}]})


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO())


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="sprout-test-") as folder:
        yield Path(folder) / "home"


def settings(home: Path, **changes: Any) -> Any:
    return some_settings(home, **changes)


def test_the_address_of_the_settings_comes_first(home: Path, console: Console) -> None:
    with serving(lambda _: MODELS) as url, connect(settings(home, api_url=url), console) as client:
        assert client.model() == "m"
    assert not home.exists()


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "gpu"])
def test_a_wrong_address(home: Path, console: Console, url: str) -> None:
    with pytest.raises(ConfigurationError, match="SPROUT_API_URL="), connect(settings(home, api_url=url), console):
        pass


def test_an_address_at_which_nothing_answers(home: Path, console: Console) -> None:
    with serving(lambda _: MODELS) as url:
        pass
    with connect(settings(home, api_url=url), console) as client, pytest.raises(ServiceUnavailable, match=url):
        client.model()


def test_a_running_stack_is_used(home: Path, console: Console) -> None:
    owner = Home(home)
    owner.lock()
    with serving(lambda _: MODELS) as url:
        owner.publish(api_url=url)
        with connect(settings(home), console) as client:
            assert client.model() == "m"
    assert console.file.getvalue() == ""  # type: ignore[attr-defined]


def test_the_key_of_the_settings_is_sent(home: Path, console: Console) -> None:
    def answer(asked: Any) -> Answer:
        return MODELS if asked.headers["Authorization"] == "Bearer k" else Answer(status=401)

    with serving(answer) as url, connect(settings(home, api_url=url, api_key="k"), console) as client:
        assert client.model() == "m"


def test_a_stack_that_does_not_start_says_why(home: Path, console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SPROUT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SPROUT_HOME", str(home))
    monkeypatch.setenv("SPROUT_ENGINE", "openai")
    with (
        pytest.raises(ServiceUnavailable, match="SPROUT_ENGINE=openai needs SPROUT_ENGINE_URL") as refusal,
        connect(settings(home), console),
    ):
        pass
    assert str(home / "logs") in refusal.value.message
    assert "Starting a stack" in console.file.getvalue()  # type: ignore[attr-defined]


def test_the_database_is_the_named_one_or_that_of_the_running_stack(home: Path) -> None:
    assert database_url(settings(home, database_url="postgresql://named")) == "postgresql://named"
    owner = Home(home)
    owner.lock()
    owner.publish(api_url="http://127.0.0.1:1", database_url="postgresql://private")
    assert database_url(settings(home)) == "postgresql://private"
    assert database_url(settings(home, database_url="postgresql://named")) == "postgresql://named"


def test_without_any_database(home: Path) -> None:
    with pytest.raises(ServiceUnavailable, match=r"start one with `sprout up`, or set SPROUT_DATABASE_URL\."):
        database_url(settings(home))
