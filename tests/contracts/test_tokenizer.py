"""What every `Tokenizer` does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from app.domain.errors import InvalidInput
from app.model.tokenizer import HfTokenizer
from app.ports import Tokenizer
from tests.support.tokenizer import WordTokenizer

TEXTS = [
    "one",
    "The sky is blue because of Rayleigh scattering.",
    "  spaces \t and\n\nlines  ",
    "12 345.67",
    "naïve 日本語 😀",
    "def f(x):\n    return x ** 2",
]


@pytest.fixture(params=["bundled", "words"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return WordTokenizer() if request.param == "words" else HfTokenizer(request.getfixturevalue("bundled_model"))


def chat(*contents: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": content} for content in contents]


def test_the_context_is_a_positive_number_of_tokens(tokenizer: Tokenizer) -> None:
    assert isinstance(tokenizer.context_tokens, int)
    assert tokenizer.context_tokens > 0


def test_nothing_is_no_tokens(tokenizer: Tokenizer) -> None:
    assert tokenizer.count("") == 0


@pytest.mark.parametrize("text", TEXTS)
def test_text_is_at_least_a_token_and_at_most_its_bytes(tokenizer: Tokenizer, text: str) -> None:
    assert 1 <= tokenizer.count(text) <= len(text.encode())


@pytest.mark.parametrize("text", TEXTS)
def test_more_text_is_more_tokens(tokenizer: Tokenizer, text: str) -> None:
    counts = [tokenizer.count("\n".join([text] * times)) for times in range(1, 6)]
    assert counts == sorted(set(counts))


@pytest.mark.parametrize("text", TEXTS)
def test_a_chat_is_more_than_its_contents(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.count_messages(chat(text)) > tokenizer.count(text)
    assert tokenizer.count_messages(chat(text, "and more")) > tokenizer.count_messages(chat(text))


def test_an_empty_message_counts_too(tokenizer: Tokenizer) -> None:
    assert tokenizer.count_messages(chat("")) > 0


@pytest.mark.parametrize("text", TEXTS)
def test_a_bound_is_no_less_than_the_count(tokenizer: Tokenizer, text: str) -> None:
    most = tokenizer.bound(text)
    assert most is not None
    assert most >= tokenizer.count(text)
    for messages in (chat(text), chat(text, text), chat([{"type": "text", "text": text}]), [*chat(text), *chat("")]):
        bound = tokenizer.bound_messages(messages)
        assert bound is not None
        assert bound >= tokenizer.count_messages(messages)


@pytest.mark.parametrize("text", TEXTS)
def test_one_text_part_counts_as_the_string(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.count_messages(chat([{"type": "text", "text": text}])) == tokenizer.count_messages(chat(text))


def test_text_parts_count_as_lines(tokenizer: Tokenizer) -> None:
    parts = [{"type": "text", "text": "first part"}, {"type": "text", "text": "second"}]
    assert tokenizer.count_messages(chat(parts)) == tokenizer.count_messages(chat("first part\nsecond"))


def test_a_tool_call_needs_no_content(tokenizer: Tokenizer) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [*chat("Call f."), {"role": "assistant", "content": None, "tool_calls": [call]}]
    assert tokenizer.count_messages(messages) > tokenizer.count_messages(chat("Call f."))


def test_counting_leaves_the_messages_alone(tokenizer: Tokenizer) -> None:
    messages = chat([{"type": "text", "text": "hello"}])
    tokenizer.count_messages(messages)
    assert messages == chat([{"type": "text", "text": "hello"}])


@pytest.mark.parametrize(
    ("messages", "named"),
    [
        ([], "messages"),
        ("hello", "messages"),
        (["hello"], "messages[0]"),
        ([{"content": "no role"}], "messages[0].role"),
        ([{"role": 7, "content": "role is a number"}], "messages[0].role"),
        ([{"role": "user"}], "messages[0].content"),
        (chat("fine", None), "messages[1].content"),
        (chat(7), "messages[0].content"),
        (chat([]), "messages[0].content"),
        (chat(["bare string"]), "messages[0].content[0]"),
        (chat([{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}]), "messages[0].content[0]"),
        (chat([{"type": "text", "text": "a"}, {"type": "text"}]), "messages[0].content[1]"),
    ],
)
def test_unusable_messages_are_invalid_input(tokenizer: Tokenizer, messages: Any, named: str) -> None:
    for count in (tokenizer.count_messages, tokenizer.bound_messages):
        with pytest.raises(InvalidInput) as caught:
            count(messages)
        assert caught.value.param == named
        assert named in caught.value.message


def test_threads_count_alike(tokenizer: Tokenizer) -> None:
    def count_all(_: int) -> list[int]:
        return [tokenizer.count(text) + tokenizer.count_messages(chat(text)) for text in TEXTS]

    with ThreadPoolExecutor(8) as pool:
        assert len({tuple(counts) for counts in pool.map(count_all, range(64))}) == 1
