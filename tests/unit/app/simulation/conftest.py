from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.recorded import record


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small dataset. Shared between tests: read it, never write to it."""
    return record(tmp_path_factory.mktemp("recorded") / "small")
