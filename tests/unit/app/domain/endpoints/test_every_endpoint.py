"""Whatever a body holds, it is refused with a sentence or can be read in every way."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.directive import Placement
from app.domain.endpoints import ENDPOINTS, Endpoint
from app.domain.errors import InvalidInput
from app.domain.judging import conversation
from app.domain.order import Prompt, longest_first
from app.services.discovery import prompt_of

NAMES = ("messages", "prompt", "input", "instructions", "tools", "text", "n", "max_tokens", "max_output_tokens", "echo")
WORDS = ("role", "content", "type", "text", "user", "input_text", "message", "function_call_output", "output", "format")

leaves = st.none() | st.booleans() | st.integers(-3, 2**40) | st.text(max_size=4) | st.sampled_from(WORDS)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4),
    max_leaves=12,
)
bodies = st.dictionaries(st.sampled_from(NAMES), values, max_size=5)


def refusal(endpoint: Endpoint, body: dict[str, Any]) -> InvalidInput | None:
    try:
        endpoint.check(body)
    except InvalidInput as exc:
        return exc
    return None


@pytest.mark.parametrize("endpoint", ENDPOINTS.values(), ids=ENDPOINTS)
@given(body=bodies, prompt=values)
def test_a_body_is_refused_or_can_be_read(endpoint: Endpoint, body: dict[str, Any], prompt: object) -> None:
    body = {**body, endpoint.prompt_name: prompt}
    assert endpoint.sequences(body) >= 1
    if (fault := refusal(endpoint, body)) is not None:
        assert fault.code
        assert str(fault.param).startswith("body.")
        return
    assert endpoint.prompts(body)
    conversation(endpoint.messages(body)).encode()
    prompt_of(endpoint.messages(body))
    longest_first({1: Prompt(endpoint=endpoint, body=body, workload="w", level=0)}, {})
    endpoint.wants_exact_form(body)
    endpoint.check(endpoint.single(body))
    if endpoint.takes_directive(body):
        for placement in Placement:
            placed = endpoint.place(body, "Briefly", placement)
            endpoint.check(placed)
            assert "Briefly" in conversation(endpoint.messages(placed))
