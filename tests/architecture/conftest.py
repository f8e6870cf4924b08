from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the code and its rules, into which a test may put what breaks them."""
    for package in ("app", "workers", "migrations"):
        shutil.copytree(REPOSITORY / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def run_tool() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command that is installed beside this Python, in `folder`."""

    def run(folder: Path, tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).with_name(tool)), *arguments]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)

    return run
