from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from app.domain.directive import PAPER_DIRECTIVES, Placement, draw_level, parse_level, place, wants_exact_form
from app.domain.errors import InvalidInput

TEXT = "Always answer briefly"
SYSTEM = {"role": "system", "content": "You are a gardener."}
USER = {"role": "user", "content": "When do I prune?"}
ASSISTANT = {"role": "assistant", "content": "In March."}

mixes = st.lists(st.floats(0, 1), min_size=1, max_size=6).filter(lambda values: sum(values) > 1e-6)


def draw(mix: tuple[float, ...] | list[float], number: int, mix_id: str = "mix_1") -> int:
    return draw_level(mix, request_key=f"batch_1/request-{number}", mix_id=mix_id)


def test_l0_has_no_text() -> None:
    assert PAPER_DIRECTIVES == ("", "Always answer briefly", "Always answer very briefly")


@pytest.mark.parametrize(
    ("text", "level"), [("L0", 0), ("l2", 2), ("1", 1), (" L1 ", 1), ("auto", None), ("AUTO", None)]
)
def test_levels(text: str, level: int | None) -> None:
    assert parse_level(text, levels=3, param="p") == level


@pytest.mark.parametrize("text", ["L3", "", "L", "LL1", "L 1", "Lauto", "-0", "+1", "1e0", "²", "none", "9" * 5000])
def test_what_is_no_level(text: str) -> None:
    with pytest.raises(InvalidInput, match="use auto or one of L0, L1, L2") as refusal:
        parse_level(text, levels=3, param="p")
    assert refusal.value.param == "p"
    assert len(refusal.value.message) < 200


def test_more_than_ten_levels() -> None:
    assert parse_level("L11", levels=12, param="p") == 11


def test_a_draw_is_the_same_wherever_it_is_made() -> None:
    # Fixed for ever: a shard that is run again, by whatever version, must draw the same levels.
    assert [draw((0.5, 0.3, 0.2), number) for number in range(20)] == [
        0, 2, 0, 0, 1, 0, 1, 1, 0, 0, 1, 2, 0, 0, 1, 1, 1, 0, 0, 0,
    ]  # fmt: skip


def test_another_mix_is_another_draw() -> None:
    first, second = ([draw((0.5, 0.5), number, mix_id) for number in range(100)] for mix_id in ("mix_1", "mix_2"))
    assert 20 < sum(a != b for a, b in zip(first, second, strict=True)) < 80


@pytest.mark.parametrize("mix", [(0.5, 0.3, 0.2), (0.01, 0.98, 0.01), (0.0, 0.5, 0.5), (0.25,) * 4])
def test_frequencies_are_those_of_the_mix(mix: tuple[float, ...]) -> None:
    number = 20_000
    counted = np.bincount([draw(mix, i) for i in range(number)], minlength=len(mix))
    possible = np.array(mix) > 0
    assert counted[~possible].sum() == 0
    assert chisquare(counted[possible], number * np.array(mix)[possible]).pvalue > 1e-3


def test_draws_of_one_request_under_many_mixes_are_spread_too() -> None:
    counted = np.bincount([draw((0.5, 0.5), 1, f"mix_{i}") for i in range(5000)])
    assert chisquare(counted).pvalue > 1e-3


@given(mixes, st.text(max_size=20), st.text(max_size=20))
def test_a_level_of_probability_zero_is_never_drawn(mix: list[float], request_key: str, mix_id: str) -> None:
    assert mix[draw_level(mix, request_key=request_key, mix_id=mix_id)] > 0


@pytest.mark.parametrize("total", [1 - 1e-7, 1 + 1e-7, 0.5])
def test_a_mix_that_does_not_quite_sum_to_one_keeps_its_proportions(total: float) -> None:
    mix = (0.75 * total, 0.25 * total, 0.0)
    counted = np.bincount([draw(mix, i) for i in range(5000)], minlength=3)
    assert counted[2] == 0
    assert chisquare(counted[:2], (3750, 1250)).pvalue > 1e-3


@pytest.mark.parametrize("placement", Placement)
def test_l0_changes_nothing(placement: Placement) -> None:
    body = {"model": "m", "messages": [USER]}
    assert place(body, "", placement) == body


@pytest.mark.parametrize(
    ("messages", "placed"),
    [
        ([SYSTEM, USER], [{"role": "system", "content": f"You are a gardener.\n\n{TEXT}"}, USER]),
        ([USER], [{"role": "system", "content": TEXT}, USER]),
        ([{"role": "developer", "content": "Be kind."}, USER],
         [{"role": "developer", "content": f"Be kind.\n\n{TEXT}"}, USER]),
        ([SYSTEM, USER, SYSTEM], [SYSTEM, USER, {"role": "system", "content": f"You are a gardener.\n\n{TEXT}"}]),
        ([{"role": "system", "content": ""}, USER], [{"role": "system", "content": TEXT}, USER]),
        ([{"role": "system"}, USER], [{"role": "system", "content": TEXT}, USER]),
    ],
)  # fmt: skip
def test_at_the_end_of_the_system_message(messages: list[Any], placed: list[Any]) -> None:
    assert place({"messages": messages}, TEXT, Placement.SYSTEM) == {"messages": placed}


@pytest.mark.parametrize(
    ("messages", "placed"),
    [
        ([SYSTEM, USER], [SYSTEM, {"role": "user", "content": f"When do I prune?\n\n{TEXT}"}]),
        ([USER, ASSISTANT, USER], [USER, ASSISTANT, {"role": "user", "content": f"When do I prune?\n\n{TEXT}"}]),
        ([USER, ASSISTANT], [{"role": "user", "content": f"When do I prune?\n\n{TEXT}"}, ASSISTANT]),
        ([SYSTEM], [SYSTEM, {"role": "user", "content": TEXT}]),
        ([{"role": "user", "content": None}], [{"role": "user", "content": TEXT}]),
    ],
)
def test_at_the_end_of_the_last_user_message(messages: list[Any], placed: list[Any]) -> None:
    assert place({"messages": messages}, TEXT, Placement.USER) == {"messages": placed}


@pytest.mark.parametrize("placement", Placement)
def test_a_list_of_parts_gets_one_more(placement: Placement) -> None:
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": "data:..."}}]
    body = {"messages": [{"role": str(placement), "content": parts}]}
    (message,) = place(body, TEXT, placement)["messages"]
    assert message["content"] == [*parts, {"type": "text", "text": TEXT}]


contents = st.none() | st.text(max_size=9) | st.lists(st.fixed_dictionaries({"type": st.just("text")}), max_size=2)
chats = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "developer", "user", "assistant", "tool"]), "content": contents}
    ),
    min_size=1,
    max_size=5,
)


@given(chats, st.sampled_from(list(Placement)))
def test_exactly_one_message_is_changed_or_added_and_the_input_is_left_alone(
    messages: list[dict[str, Any]], placement: Placement
) -> None:
    body = {"model": "m", "messages": messages, "temperature": 0.5}
    before = copy.deepcopy(body)
    placed = place(body, TEXT, placement)
    assert body == before
    assert {**placed, "messages": None} == {**body, "messages": None}
    kept = [message for message in placed["messages"] if message in messages]
    assert len(placed["messages"]) - len(kept) >= 1
    assert sum(TEXT in str(message["content"]) for message in placed["messages"]) == 1
    assert len(placed["messages"]) - len(messages) in (0, 1)


def test_prompts_that_share_their_beginning_still_do() -> None:
    parts = ["A long shared preface.", "A long shared preface. And a question."]
    placed = [place({"messages": [{"role": "user", "content": text}]}, TEXT, Placement.USER) for text in parts]
    assert all(body["messages"][0]["content"].startswith(parts[0]) for body in placed)


@pytest.mark.parametrize("body", [{}, {"response_format": "json"}, {"response_format": {}}, {"tools": None}])
def test_no_exact_form(body: dict[str, Any]) -> None:
    assert not wants_exact_form(body)


@pytest.mark.parametrize("body", [{"response_format": {"type": "grammar"}}, {"tools": [{}]}, {"structured_outputs": {"json": {}}}])  # fmt: skip  # noqa: E501
def test_an_exact_form(body: dict[str, Any]) -> None:
    assert wants_exact_form(body)
