"""Ruff's stricter rules of app/domain."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]

MODULE = '''"""Injected."""

from __future__ import annotations

{imports}


def injected() -> object:
    return {expression}
'''


def test_a_harmless_module_passes(copy: Path, run_tool: Run) -> None:
    result = _check(copy, run_tool, "import math", "math.pi")
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("imports", "expression", "rule"),
    [
        ("from datetime import UTC, datetime", "datetime.now(UTC)", "TID251"),
        ("import datetime as dt", "dt.datetime.now(dt.UTC)", "TID251"),
        ("import datetime as dt", "dt.date.today()", "TID251"),
        ("import time", "time.monotonic()", "TID251"),
        ("from random import choice", "choice([1, 2])", "TID251"),
        ("import numpy as np", "np.random.default_rng()", "TID251"),
        ("import math", 'open("file")', "PTH123"),
        ("import math", "print(math.pi)", "T201"),
    ],
)
def test_a_violation_is_an_error(copy: Path, run_tool: Run, imports: str, expression: str, rule: str) -> None:
    result = _check(copy, run_tool, imports, expression)
    assert result.returncode == 1
    assert f": {rule} " in result.stdout


def _check(copy: Path, run_tool: Run, imports: str, expression: str) -> subprocess.CompletedProcess[str]:
    injected = copy / "app/domain/injected.py"
    injected.write_text(MODULE.format(imports=imports, expression=expression))
    return run_tool(copy, "ruff", "check", "--no-cache", "--output-format=concise", str(injected))
