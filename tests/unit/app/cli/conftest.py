from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from app import settings


@pytest.fixture
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No variables but those that a test sets, an empty home, and a client that does not wait between two looks."""
    for name in [name for name in os.environ if name.startswith("SPROUT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SPROUT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("app.cli.client.RETRY_S", 0.001)
    settings.load.cache_clear()
    yield
    settings.load.cache_clear()
