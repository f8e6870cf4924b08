from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.directive import Placement
from app.domain.endpoints import CHAT

TEXT = "Always answer briefly"
SYSTEM = {"role": "system", "content": "You are a gardener."}
USER = {"role": "user", "content": "When do I prune?"}
ASSISTANT = {"role": "assistant", "content": "In March."}


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
    assert CHAT.place({"messages": messages}, TEXT, Placement.SYSTEM) == {"messages": placed}


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
    assert CHAT.place({"messages": messages}, TEXT, Placement.USER) == {"messages": placed}


@pytest.mark.parametrize("placement", Placement)
def test_a_list_of_parts_gets_one_more(placement: Placement) -> None:
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": "data:..."}}]
    body = {"messages": [{"role": str(placement), "content": parts}]}
    (message,) = CHAT.place(body, TEXT, placement)["messages"]
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
    placed = CHAT.place(body, TEXT, placement)
    assert body == before
    assert {**placed, "messages": None} == {**body, "messages": None}
    kept = [message for message in placed["messages"] if message in messages]
    assert len(placed["messages"]) - len(kept) >= 1
    assert sum(TEXT in str(message["content"]) for message in placed["messages"]) == 1
    assert len(placed["messages"]) - len(messages) in (0, 1)


def test_prompts_that_share_their_beginning_still_do() -> None:
    parts = ["A long shared preface.", "A long shared preface. And a question."]
    placed = [CHAT.place({"messages": [{"role": "user", "content": text}]}, TEXT, Placement.USER) for text in parts]
    assert all(body["messages"][0]["content"].startswith(parts[0]) for body in placed)


@pytest.mark.parametrize("body", [{}, {"response_format": "json"}, {"response_format": {}}, {"tools": None}])
def test_no_exact_form(body: dict[str, Any]) -> None:
    assert not CHAT.wants_exact_form(body)


@pytest.mark.parametrize("body", [{"response_format": {"type": "grammar"}}, {"tools": [{}]}, {"structured_outputs": {"json": {}}}])  # fmt: skip  # noqa: E501
def test_an_exact_form(body: dict[str, Any]) -> None:
    assert CHAT.wants_exact_form(body)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"choices": [{"message": {"content": "Yes"}}, {"message": {"content": "No"}}]}, "Yes"),
        ({"choices": [{"message": {"content": None}}]}, ""),
        ({"choices": [{"message": {"content": [{"type": "text", "text": "Yes"}]}}]}, "Yes"),
        ({"choices": [{}]}, ""),
        ({"choices": []}, ""),
        ({}, ""),
    ],
)
def test_an_answer_is_the_text_of_its_first_choice(body: dict[str, object], text: str) -> None:
    assert CHAT.answer(body) == text


@pytest.mark.parametrize(("n", "places"), [(None, 1), (3, 3), (0, 1), (-1, 1), ("3", 1)])
def test_each_answer_takes_a_place(n: object, places: int) -> None:
    assert CHAT.sequences({"n": n}) == places
    assert CHAT.sequences(CHAT.single({"n": n})) == 1
