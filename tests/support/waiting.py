"""Waiting for a condition instead of for a duration."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest


def eventually(condition: Callable[[], object], *, within_s: float = 10, every_s: float = 0.02) -> None:
    """Return when `condition()` is true, looking `every_s`; fail the test if it isn't within `within_s`."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not true within {within_s:g} s")
        time.sleep(every_s)
