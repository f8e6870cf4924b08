"""A generation worker that cannot start ends, instead of taking messages that it cannot serve."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from app.services import installation
from app.store import installation as stored
from app.store.database import Database
from tests.support.clock import NOON
from tests.support.services import some_settings
from tests.support.stack import clean_environment


@pytest.mark.timeout(120)
def test_a_worker_without_an_engine_ends(
    tmp_path: Path, database: Database, database_url: str, broker_url: str
) -> None:
    settings = {
        "SPROUT_HOME": str(tmp_path),
        "SPROUT_DATABASE_URL": database_url,
        "SPROUT_BROKER_URL": broker_url,
        "SPROUT_ENGINE": "openai",
        "SPROUT_ENGINE_URL": "ftp://nowhere",
    }
    with database.transaction() as connection:
        stored.put(connection, installation.shared(some_settings(tmp_path)), NOON)
    ended = subprocess.run(
        [sys.executable, "-m", "app.cli", "worker", "--queues", "generate"],
        env=clean_environment(settings),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ended.returncode == 1
    assert "this worker cannot start" in ended.stderr
    assert "must start with http:// or https://" in ended.stderr
