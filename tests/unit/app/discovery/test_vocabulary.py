from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.discovery.text import MAX_TOKENS, read, terms
from app.discovery.vocabulary import Vocabulary

PROMPTS = ["the cat, the dog", "", "cat", "12 cats and 7 dogs\n\n- the cat", "< the", "the >", "猫 the 猫", "a" * 9000]
TEXT = st.lists(st.sampled_from(["the ", "cat", " ", "12", "٣", "\n", "<", ">", ".", "猫", "é"]), max_size=60).map(
    "".join
)


def counted(vocabulary: list[str], prompts: list[str]) -> list[dict[str, int]]:
    """What each prompt has of the vocabulary."""
    found: list[dict[str, int]] = [{} for _ in prompts]
    for prompt, term, count in zip(*Vocabulary(vocabulary).counts(read(prompts)), strict=True):
        found[prompt][vocabulary[term]] = count
    return found


def plainly(vocabulary: list[str], prompts: list[str]) -> list[dict[str, int]]:
    return [{term: count for term, count in Counter(terms(prompt)).items() if term in vocabulary} for prompt in prompts]


def test_all_terms_of_all_prompts_are_counted() -> None:
    vocabulary = sorted({term for prompt in PROMPTS for term in terms(prompt)})
    assert counted(vocabulary, PROMPTS) == [Counter(terms(prompt)) for prompt in PROMPTS]


@pytest.mark.parametrize("vocabulary", [["the", "< the", "cat >"], ["the cat"], ["< >", "0", "\n -"], []])
def test_other_terms_are_not(vocabulary: list[str]) -> None:
    assert counted(vocabulary, PROMPTS) == plainly(vocabulary, PROMPTS)


@given(st.lists(TEXT, min_size=1, max_size=5), st.lists(TEXT, max_size=5))
def test_terms_are_counted_as_they_are_learned(prompts: list[str], learned: list[str]) -> None:
    vocabulary = sorted({term for prompt in learned for term in terms(prompt)})
    assert counted(vocabulary, prompts) == plainly(vocabulary, prompts)


def test_marks_of_the_ends_are_not_mistaken_for_those_in_the_text() -> None:
    assert counted(["< the"], ["the", "a < the", "a the"]) == [{"< the": 1}, {"< the": 1}, {}]
    assert counted([">"], ["the", "the >"]) == [{}, {">": 1}]


def test_what_is_not_read_is_not_counted() -> None:
    assert counted(["the"], ["the " * 990, "the"]) == [{"the": MAX_TOKENS}, {"the": 1}]


def test_words_with_the_same_characters_are_told_apart() -> None:
    words = ["abc", "acb", "bac", "bca", "cab", "cba", "ab", "ba", "a", "aa", "aaa"]
    for word in words:
        assert counted([word], words) == [{word: 1} if other == word else {} for other in words]
