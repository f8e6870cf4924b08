"""OpenAI's recorded JSON, and how ours is held against it."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

OURS = frozenset({"sprout"})
"""Fields that OpenAI does not have; its clients pass over them."""


def recorded(name: str) -> Any:
    """A recorded shape, or the list of those in a JSONL file; the test is skipped where they are absent."""
    default = Path(__file__).parents[3] / "shared" / "reference" / "api-shapes" / "openai"
    path = Path(os.environ.get("SPROUT_TEST_SHAPES", default)) / name
    if not path.is_file():
        pytest.skip(f"{path} is absent: set SPROUT_TEST_SHAPES to the folder that holds it")
    text = path.read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else json.loads(text)


def differences(ours: Any, theirs: Any, *, free: Collection[str] = ()) -> list[str]:
    """Where `ours` is no JSON of the form of `theirs`, as sentences.

    Every field of theirs is there, of the same type and null where theirs is, and there is no other one but those of
    OURS. Elements of a list are all as their first one. Objects in `free`, by path such as `.response.body`, may hold
    more: a model server fills them.
    """
    return list(_differences(ours, theirs, "", frozenset(free)))


def _differences(ours: Any, theirs: Any, path: str, free: frozenset[str]) -> Iterator[str]:
    if _kind(ours) != _kind(theirs):
        yield f"{path or 'the whole'} is {_kind(ours)} where OpenAI's is {_kind(theirs)}"
    elif isinstance(theirs, Mapping):
        for name in theirs.keys() - ours.keys():
            yield f"{path}.{name} is missing"
        if path not in free:
            for name in ours.keys() - theirs.keys() - OURS:
                yield f"{path}.{name} is not among OpenAI's"
        for name in theirs.keys() & ours.keys():
            yield from _differences(ours[name], theirs[name], f"{path}.{name}", free)
    elif isinstance(theirs, list) and theirs:
        for number, element in enumerate(ours):
            yield from _differences(element, theirs[0], f"{path}[{number}]", free)


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int():
            return "an integer"
        case float():
            return "a number"
        case str():
            return "a text"
        case Mapping():
            return "an object"
        case _:
            return "a list"
