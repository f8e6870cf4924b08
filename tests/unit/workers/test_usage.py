from __future__ import annotations

import pytest

from workers.engines.usage import Usage, usage_of


@pytest.mark.parametrize(
    ("usage", "found"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 4}, Usage(prompt=9, completion=4)),
        ({"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 5}}, Usage(prompt=9, cached=5)),
        ({"input_tokens": 9, "output_tokens": 4}, Usage(prompt=9, completion=4)),
        ({"input_tokens": 9, "input_tokens_details": {"cached_tokens": 5}}, Usage(prompt=9, cached=5)),
        ({"prompt_tokens": 9, "total_tokens": 9}, Usage(prompt=9)),
        ({"input_tokens": "9", "output_tokens": -4, "input_tokens_details": 7}, Usage()),
        ({"prompt_tokens": 2**31, "completion_tokens": None}, Usage()),
        (None, Usage()),
        ([], Usage()),
    ],
)
def test_either_naming_is_read_and_what_cannot_be_counts_as_nothing(usage: object, found: Usage) -> None:
    assert usage_of({"usage": usage}) == found
    assert usage_of({}) == Usage()
