from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from app import settings
from app.cli.main import cli
from app.domain.errors import AlreadyRunning, ConfigurationError
from app.embedded.home import Home


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SPROUT_HOME", str(tmp_path))
    settings.load.cache_clear()
    yield
    settings.load.cache_clear()


def calibrate(*options: str) -> str:
    found = CliRunner().invoke(cli, ["calibrate", *options], catch_exceptions=False)
    assert found.exit_code == 2
    return found.output


def test_a_stack_on_the_home_must_stop_first(tmp_path: Path) -> None:
    Home(tmp_path).lock()
    with pytest.raises(AlreadyRunning, match="stop it first"):
        calibrate()


def test_an_engine_elsewhere_has_no_meter_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPROUT_ENGINE", "openai")
    monkeypatch.setenv("SPROUT_ENGINE_URL", "http://h/v1")
    with pytest.raises(ConfigurationError, match="calibrate machines that run vLLM"):
        calibrate()


def test_too_few_minutes_are_refused() -> None:
    assert "is not in the range" in calibrate("--minutes", "1")
