"""One idea per module: what grows beyond these sizes holds more than one."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

MODULE_LINES = 300
FUNCTION_LINES = 40

EXCEPTIONS: dict[str, str] = {}
"""Modules (`app/x.py`) and functions (`app/x.py:name`) that may be longer, each with its reason."""


def _sizes(root: Path) -> Iterator[tuple[str, int, int]]:
    """Name, lines and limit of every module and function of `app` and `workers` below `root`."""
    for path in sorted(file for package in ("app", "workers") for file in (root / package).rglob("*.py")):
        name, text = path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")
        yield name, len(text.splitlines()), MODULE_LINES
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                yield f"{name}:{node.name}", node.end_lineno - node.lineno + 1, FUNCTION_LINES


def _too_long(root: Path) -> dict[str, int]:
    return {name: lines for name, lines, limit in _sizes(root) if lines > limit}


def test_modules_and_functions_are_short(repository: Path) -> None:
    assert {name: lines for name, lines in _too_long(repository).items() if name not in EXCEPTIONS} == {}


def test_every_exception_is_still_needed(repository: Path) -> None:
    assert EXCEPTIONS.keys() <= _too_long(repository).keys()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("#\n" * 300, {}),
        ("#\n" * 301, {"app/long.py": 301}),
        ("def f():\n" + "    1\n" * 39, {}),
        ("class A:\n    async def f(self):\n" + "        1\n" * 40, {"app/long.py:f": 41}),
    ],
)
def test_what_is_too_long_is_found(tmp_path: Path, text: str, found: dict[str, int]) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app/long.py").write_text(text)
    assert _too_long(tmp_path) == found
