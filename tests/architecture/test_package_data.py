"""What the code reads beside itself is installed with it."""

from __future__ import annotations

import tomllib
from pathlib import Path

RULES = "ruff.toml"
"""For the linter alone."""


def test_every_file_that_is_no_module_is_package_data(repository: Path) -> None:
    tool = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    stated = {
        path
        for package, patterns in tool["setuptools"]["package-data"].items()
        for pattern in patterns
        for path in (repository / package.replace(".", "/")).glob(pattern)
    }
    found = {
        path
        for package in ("app", "workers")
        for path in (repository / package).rglob("*")
        if path.is_file()
        and path.suffix not in (".py", ".pyc")
        and path.name != RULES
        # Caches of tools.
        and not any(part.startswith(".") for part in path.relative_to(repository).parts)
    }
    assert found == stated
    assert repository / "app/web/vote.html" in found
