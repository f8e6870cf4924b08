from __future__ import annotations

from typing import Any

import pytest

from app.domain.errors import InvalidInput
from app.domain.workload import declared_in, discovered_name, parse_workload, stratum_name
from app.services.discovery import HEAD, SYSTEM_CHARACTERS, TAIL, prompt_of


def said(*messages: tuple[str, Any]) -> str:
    return prompt_of({"messages": [{"role": role, "content": content} for role, content in messages]})


def test_a_prompt_is_what_the_user_says() -> None:
    assert said(("user", "Who?"), ("assistant", "Ada."), ("user", "When?")) == "Who?\nWhen?"


@pytest.mark.parametrize("role", ["system", "developer"])
def test_the_start_of_the_system_message_comes_first(role: str) -> None:
    assert said((role, "Translate."), ("user", "Guten Tag")) == "Translate.\nGuten Tag"
    assert said((role, "x" * 5000), ("user", "Guten Tag")) == "x" * SYSTEM_CHARACTERS + "\nGuten Tag"


def test_of_parts_only_text_is_taken() -> None:
    parts = [{"type": "text", "text": "Look:"}, {"type": "image_url", "image_url": {"url": "x"}}, {"text": 7}, "odd"]
    assert said(("user", parts)) == "Look:"


@pytest.mark.parametrize("content", [None, "", 7, [], {}])
def test_nothing_said_is_an_empty_prompt(content: object) -> None:
    assert said(("user", content)) == ""


@pytest.mark.parametrize("body", [{}, {"messages": []}, {"messages": ["odd", {}]}])
def test_a_body_without_messages_too(body: dict[str, Any]) -> None:
    assert prompt_of(body) == ""


def test_the_middle_of_a_long_text_is_left_out() -> None:
    prompt = said(("user", "a" * HEAD + "b" * 1_000_000 + "c" * TAIL))
    assert prompt == "a" * HEAD + "c" * TAIL


@pytest.mark.parametrize("name", ["default", discovered_name(3), "default~1", stratum_name(discovered_name(3), 1)])
def test_these_were_declared_by_nobody(name: str) -> None:
    assert declared_in(name) is None


@pytest.mark.parametrize("name", ["news", "news~2", "class", "class-1"])
def test_these_were_declared(name: str) -> None:
    assert declared_in(name) == name.partition("~")[0]


def test_no_declared_workload_can_be_mistaken_for_a_discovered_one() -> None:
    with pytest.raises(InvalidInput):
        parse_workload(discovered_name(1), param="p")
