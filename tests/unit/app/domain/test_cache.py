from __future__ import annotations

from typing import Any

import pytest

from app.domain.cache import cache_key, is_deterministic
from app.domain.completion import EngineRequest
from tests.support.factories import ENDPOINT, chat

OWN = {"tenant": "t", "model": "m", "fingerprint": "f", "level": 0}


def key(body: dict[str, Any], **changes: Any) -> bytes | None:
    values = {**OWN, "endpoint": ENDPOINT, **changes}
    return cache_key(EngineRequest(key="k", endpoint=values.pop("endpoint"), body=body), **values)


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, False),
        ({"temperature": 0}, True),
        ({"temperature": 0.0, "n": 1}, True),
        ({"temperature": 0, "n": 2}, False),
        ({"temperature": 0, "n": True}, False),
        ({"temperature": False}, False),
        ({"temperature": "0"}, False),
        ({"temperature": 0.7}, False),
        ({"temperature": 0.7, "top_k": 1}, True),
        ({"temperature": 0.7, "seed": 5}, True),
        ({"temperature": 0.7, "seed": None}, False),
        ({"seed": True}, False),
        ({"seed": 5, "n": 2}, False),
    ],
)
def test_only_what_has_one_answer_is_deterministic(parameters: dict[str, Any], expected: bool) -> None:
    assert is_deterministic(chat(**parameters)) is expected
    assert (key(chat(**parameters)) is not None) is expected


def test_what_no_model_sees_does_not_count_and_all_else_does() -> None:
    base = key(chat("a", temperature=0))
    assert base is not None
    assert key(chat("a", temperature=0, metadata={"x": "y"}, user="u")) == base
    assert key(dict(reversed(chat("a", temperature=0).items()))) == base
    others = [
        key(chat("b", temperature=0)),
        key(chat("a", temperature=0, max_tokens=5)),
        *(key(chat("a", temperature=0), **{name: "x"}) for name in ("tenant", "model", "fingerprint", "endpoint")),
        key(chat("a", temperature=0), level=1),
    ]
    assert len({base, *others}) == len(others) + 1
