from __future__ import annotations

from typing import Any

import pytest

from app.domain.directive import Placement
from app.domain.endpoints import ENDPOINTS
from app.domain.errors import InvalidInput

COMPLETIONS, EMBEDDINGS = ENDPOINTS["/v1/completions"], ENDPOINTS["/v1/embeddings"]

GOOD: list[tuple[Any, int, list[str], list[str | int]]] = [
    ("Once", 1, ["Once"], ["Once"]),
    ("", 1, [""], [""]),
    (["Once", "Twice"], 2, ["Once", "Twice"], ["Once", "Twice"]),
    ([3, 0, 7], 1, [], [3]),
    ([[3, 4], [5]], 2, [], [2, 1]),
]
BAD: list[Any] = [None, 7, {}, [], [[]], ["Once", 3], [3, "Once"], [[3], "Once"], [-1], [1.0], [True], [[3], [True]]]


@pytest.mark.parametrize(("endpoint", "name"), [(COMPLETIONS, "prompt"), (EMBEDDINGS, "input")])
@pytest.mark.parametrize(("value", "number", "texts", "prompts"), GOOD)
def test_a_text_its_tokens_or_a_list_of_either(
    endpoint: Any, name: str, value: Any, number: int, texts: list[str], prompts: list[str | int]
) -> None:
    body = {name: value}
    endpoint.check(body)
    assert endpoint.sequences(body) == number
    assert [message["content"] for message in endpoint.messages(body)] == texts
    assert endpoint.prompts(body) == prompts


@pytest.mark.parametrize(("endpoint", "name"), [(COMPLETIONS, "prompt"), (EMBEDDINGS, "input")])
@pytest.mark.parametrize("value", BAD)
def test_anything_else_is_refused_with_its_place(endpoint: Any, name: str, value: Any) -> None:
    with pytest.raises(InvalidInput, match=f"'body.{name}' must be a text") as raised:
        endpoint.check({name: value})
    assert raised.value.param == f"body.{name}"
    assert endpoint.sequences({name: value}) >= 1


@pytest.mark.parametrize("placement", Placement)
def test_a_directive_stands_at_the_end_of_the_text(placement: Placement) -> None:
    body = {"prompt": "Once", "max_tokens": 3}
    assert COMPLETIONS.takes_directive(body)
    assert COMPLETIONS.place(body, "Briefly", placement) == {"prompt": "Once\n\nBriefly", "max_tokens": 3}
    assert body["prompt"] == "Once"


@pytest.mark.parametrize(
    "body", [{"prompt": ["Once"]}, {"prompt": [3]}, {"prompt": "Once", "echo": True}, {"prompt": "f(", "suffix": ")"}]
)
def test_it_has_no_place_in_tokens_in_several_texts_in_what_is_repeated_or_filled_in(body: dict[str, Any]) -> None:
    assert not COMPLETIONS.takes_directive(body)


def test_embeddings_take_none() -> None:
    assert not EMBEDDINGS.takes_directive({"input": "Once"})
    assert not EMBEDDINGS.generates
    assert EMBEDDINGS.most_tokens({"max_tokens": 7}) == 0


@pytest.mark.parametrize("form", ["bytes", 7, None, ["float"]])
def test_embeddings_come_as_json(form: object) -> None:
    with pytest.raises(InvalidInput, match="must be one of float, base64"):
        EMBEDDINGS.check({"input": "Once", "encoding_format": form})


def test_each_answer_to_each_text_takes_a_place_and_only_one_is_judged() -> None:
    body = {"prompt": ["Once", "Twice"], "n": 2, "best_of": 3}
    assert COMPLETIONS.sequences(body) == 6
    assert COMPLETIONS.single({"prompt": "Once", "n": 2, "best_of": 3}) == {"prompt": "Once", "n": 1, "best_of": 1}
    assert COMPLETIONS.single({"prompt": "Once"}) == {"prompt": "Once", "n": 1}


@pytest.mark.parametrize(
    ("response", "text"),
    [({"choices": [{"text": "Yes"}, {"text": "No"}]}, "Yes"), ({"choices": [{"text": None}]}, ""), ({}, "")],
)
def test_an_answer_is_the_text_of_its_first_choice(response: dict[str, Any], text: str) -> None:
    assert COMPLETIONS.answer(response) == text
