from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.endpoints import CHAT, ENDPOINTS
from app.domain.order import Prompt, expected_tokens, longest_first, system_prompt
from tests.support.factories import a_profile


def prompt(
    system: str | None = None, *, text: str = "Why?", workload: str = "mail", level: int = 0, **parameters: Any
) -> Prompt:
    leading = [] if system is None else [{"role": "system", "content": system}]
    body = {"messages": [*leading, {"role": "user", "content": text}], **parameters}
    return Prompt(endpoint=CHAT, body=body, workload=workload, level=level)


def order(prompts: Sequence[Prompt], **expected: float) -> list[int]:
    """Positions, with tokens given as `mail0=...`: workload and level."""
    return longest_first(
        dict(enumerate(prompts)), {(name[:-1], int(name[-1])): tokens for name, tokens in expected.items()}
    )


def test_the_longest_expected_answer_comes_first() -> None:
    prompts = [prompt(level=2), prompt(level=0), prompt(level=1), prompt(workload="news", level=2)]
    assert order(prompts, mail0=300, mail1=100, mail2=20, news2=200) == [1, 3, 2, 0]


def test_what_shares_a_system_prompt_stands_together_and_the_group_goes_by_its_longest() -> None:
    prompts = [prompt("A", level=2), prompt("B", level=1), prompt("A", level=0), prompt(level=1), prompt("B", level=2)]
    assert order(prompts, mail0=300, mail1=100, mail2=20) == [2, 0, 1, 4, 3]


def test_a_request_answers_no_longer_than_it_may() -> None:
    prompts = [
        prompt(max_tokens=10),
        prompt(level=1),
        prompt(max_completion_tokens=60, max_tokens=900),
        prompt(max_tokens=None),
    ]
    assert order(prompts, mail0=300, mail1=50) == [3, 2, 1, 0]


def test_without_a_profile_it_may_be_as_long_as_allowed_and_else_goes_by_its_prompt() -> None:
    prompts = [prompt(workload="new"), prompt(workload="new", text="Why? " * 80), prompt(workload="new", max_tokens=50)]
    assert order(prompts) == [1, 2, 0]


def test_of_equal_answers_the_longer_prompt_comes_first_and_of_equal_prompts_the_earlier_line() -> None:
    prompts = [prompt(text="abcd"), prompt(text="abcdefgh"), prompt(text="ijklmnop"), prompt(text="qrst")]
    assert order(prompts, mail0=9) == [1, 2, 0, 3]


def test_a_stratum_without_a_profile_is_as_long_as_its_workload() -> None:
    found = expected_tokens(
        [
            a_profile(workload="mail~1", requests=3.0, completion_tokens=10.0),
            a_profile(workload="mail~2", requests=1.0, completion_tokens=50.0),
        ]
    )
    assert found == {("mail~1", 0): 10.0, ("mail~2", 0): 50.0, ("mail", 0): 20.0}
    names = ("mail~1", "mail~2", "mail~3")
    assert longest_first({name: prompt(workload=name) for name in names}, found) == ["mail~2", "mail~3", "mail~1"]


def test_all_leading_system_and_developer_messages_are_the_system_prompt() -> None:
    first, second = {"role": "system", "content": "A"}, {"role": "developer", "content": "B", "name": "x"}
    later = [{"role": "user", "content": "Why?"}, {"role": "system", "content": "C"}]
    whole = system_prompt([first, second, *later])
    assert whole == system_prompt([first, second, {"role": "user", "content": "How?"}])
    assert whole != system_prompt([first, *later])
    assert system_prompt([{"role": "system", "content": [{"type": "text", "text": "A"}]}]) != system_prompt([first])
    assert system_prompt(later) == ()


def test_text_completions_have_a_length_too() -> None:
    completions = ENDPOINTS["/v1/completions"]
    texts: list[object] = ["short", "much longer than that", [[1, 2, 3]], ["two", "texts, and long ones at that"]]
    prompts = [Prompt(endpoint=completions, body={"prompt": text}, workload="mail", level=0) for text in texts]
    assert order(prompts) == [3, 1, 2, 0]


def test_responses_may_be_as_long_as_they_say_and_share_their_instructions() -> None:
    responses = ENDPOINTS["/v1/responses"]
    bodies: list[dict[str, Any]] = [
        {"input": "Why?", "max_output_tokens": 10, "instructions": "A"},
        {"input": "Why?", "max_output_tokens": 30},
        {"input": "Why?", "max_output_tokens": 90, "instructions": "A"},
    ]
    prompts = [Prompt(endpoint=responses, body=body, workload="mail", level=0) for body in bodies]
    assert order(prompts, mail0=100) == [2, 0, 1]


@pytest.mark.parametrize("content", [None, 7, {"a": 1}, [None, {"text": 5}, "x"], "x" * 9])
@pytest.mark.parametrize("limit", [None, 0, -1, "many", True])
def test_odd_bodies_are_ordered_all_the_same(content: object, limit: object) -> None:
    body = {"messages": [{"role": "system", "content": content}, {}], "max_tokens": limit}
    odd = Prompt(endpoint=CHAT, body=body, workload="w", level=9)
    assert sorted(order([odd, prompt("A"), odd], mail0=3)) == [0, 1, 2]


@given(
    st.lists(
        st.builds(
            prompt,
            st.sampled_from([None, "", "A", "B"]),
            text=st.text(max_size=20),
            workload=st.sampled_from(["mail", "news", "unknown"]),
            level=st.integers(0, 2),
            max_tokens=st.none() | st.integers(1, 500),
        ),
        max_size=30,
    )
)
def test_every_request_once_groups_whole_and_each_time_the_same(prompts: list[Prompt]) -> None:
    expected = {"mail0": 300.0, "mail1": 90.0, "news0": 200.0, "news2": 10.0}
    found = order(prompts, **expected)
    assert sorted(found) == list(range(len(prompts)))
    systems = [system_prompt(prompts[index].body["messages"]) for index in found]
    changes = sum(before != after for before, after in pairwise(systems))
    assert changes == max(len(set(systems)) - 1, 0)
    assert order(prompts, **expected) == found


@pytest.mark.parametrize("limit", [10**400, -(10**400), -5, 1e308, True])
def test_any_number_that_json_can_hold_is_a_limit(limit: float) -> None:
    assert order([prompt(max_tokens=limit), prompt(max_tokens=3, level=1)]) in ([0, 1], [1, 0])
    assert order([prompt(max_tokens=limit), prompt(max_tokens=3)], mail0=5) in ([0, 1], [1, 0])
