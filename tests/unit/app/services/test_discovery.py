from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from app.discovery.embedding import AT_ONCE
from app.discovery.model import ClassModel, fit
from app.domain.endpoints import CHAT, ENDPOINTS
from app.domain.errors import InvalidInput
from app.domain.request import Request
from app.domain.workload import declared_in, discovered_name, parse_workload, stratum_name
from app.services.discovery import HEAD, PART_BYTES, SYSTEM_CHARACTERS, TAIL, named, prompt_of
from tests.support.prompts import examples


def said(*messages: tuple[str, Any]) -> str:
    return prompt_of([{"role": role, "content": content} for role, content in messages])


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


def request(line: int, text: str, workload: str = "default", body_json: bytes | None = None) -> Request:
    body = {"messages": [{"role": "user", "content": text}]}
    return Request(line=line, custom_id=str(line), body=body, workload=workload, pinned_level=None, body_json=body_json)


@cache
def learned() -> ClassModel:
    found = examples(200)
    prompts, energies_j = [example.prompt for example in found], [example.energy_j for example in found]
    return fit(prompts, [None] * 200, energies_j).model


def test_requests_are_named_in_their_order_each_by_its_own_text() -> None:
    texts = [example.prompt for example in examples(2 * AT_ONCE + 3, seed=3)]
    entries = [request(line, text, "mine" if line % 5 == 0 else "default") for line, text in enumerate(texts, 1)]
    found = list(named(entries, learned(), CHAT))
    alone = [learned().assign([prompt_of(e.body["messages"])], [declared_in(e.workload)])[0] for e in entries]
    assert found == [replace(entry, workload=name) for entry, name in zip(entries, alone, strict=True)]
    assert {"mine"} < {entry.workload for entry in found}


def test_without_a_model_requests_pass_as_they_are() -> None:
    entries = [request(1, "Who?"), request(2, "Where?", "mine")]
    assert list(named(entries, None, CHAT)) == entries
    assert list(named([], learned(), CHAT)) == []


@pytest.mark.parametrize(("size", "taken"), [(10, AT_ONCE), (PART_BYTES // 4, 4), (PART_BYTES, 1)])
def test_large_requests_are_not_gathered(size: int, taken: int) -> None:
    entries = (request(line, "Who?", body_json=b"x" * size) for line in range(1, 1000))
    next(named(entries, learned(), CHAT))
    assert next(entries).line == taken + 1


def test_what_no_directive_can_shorten_keeps_its_workload() -> None:
    entries = [replace(request(1, ""), body={"input": "Who?"}, workload="embeddings")]
    assert list(named(entries, learned(), ENDPOINTS["/v1/embeddings"])) == entries
    asked = [replace(request(1, ""), body={"prompt": "Who?"}, workload="completions")]
    assert [declared_in(one.workload) for one in named(asked, learned(), ENDPOINTS["/v1/completions"])] == [
        "completions"
    ]
