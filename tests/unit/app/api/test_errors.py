from __future__ import annotations

import inspect

import pytest

from app.api.errors import STATUS
from app.api.shapes import epoch, list_shape
from app.domain import errors
from app.domain.errors import (
    CalibrationFailed,
    ConfigurationError,
    EngineFailed,
    IntensityUnavailable,
    JudgeUnavailable,
    OptimizerFailed,
    SproutError,
    TaskFailed,
)
from tests.support.clock import NOON

INTERNAL = {
    CalibrationFailed,
    ConfigurationError,
    EngineFailed,
    IntensityUnavailable,
    JudgeUnavailable,
    OptimizerFailed,
    TaskFailed,
}
"""A caller of the API can do nothing about these: 500."""


@pytest.mark.parametrize(
    "kind",
    [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, SproutError)],
    ids=lambda kind: kind.__name__,
)
def test_every_error_has_a_status_or_is_internal(kind: type[SproutError]) -> None:
    listed = [known for known in STATUS if issubclass(kind, known)]
    internal = [known for known in INTERNAL if issubclass(kind, known)]
    assert kind is SproutError or len(listed) + len(internal) == 1


def test_times_are_unix_seconds() -> None:
    assert epoch(None) is None
    assert epoch(NOON.replace(microsecond=999_999)) == 1772452800


def test_a_list_names_its_ends() -> None:
    assert list_shape([{"id": "a"}, {"id": "b"}], has_more=True) == {
        "object": "list",
        "data": [{"id": "a"}, {"id": "b"}],
        "first_id": "a",
        "last_id": "b",
        "has_more": True,
    }
