from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.discovery.text import MAX_CHARACTERS, MAX_TOKENS, structure, terms
from tests.support.plain_reading import plain_structure, plain_terms

ANY_TEXT = st.text(alphabet=st.characters(), max_size=300)
WRITTEN = st.lists(
    st.sampled_from(
        ["Ab", "İ", "ΟΔΟΣ", "12", "١٢", "๑๒", "ครับ", "中", "カ", "é", "_", "½", ".", "? ", "。", "- ", "1)", "a."]
    )
    | st.sampled_from([" ", "\t", "\n", "\n\n", "\x1c", "\xa0", "\0", "\ud800", "🌱", "<", ">", "a b ", "?!", "(b) "]),
    max_size=700,
).map("".join)
"""What the expressions tell apart, side by side; often more than is read of it."""


def test_terms_are_tokens_and_pairs_with_both_ends() -> None:
    assert terms("Add 12 apples!") == ["add", "0", "apples", "!", "< add", "add 0", "0 apples", "apples !", "! >"]


def test_line_breaks_are_tokens_and_their_number_does_not_matter() -> None:
    assert terms("a\n\n\nb") == terms("a\nb") == ["a", "\n", "b", "< a", "a \n", "\n b", "b >"]


def test_numbers_of_any_script_read_zero() -> None:
    assert terms("١٢")[0] == terms("7")[0] == "0"


@pytest.mark.parametrize("text", ["春天的诗", "ฤดูใบ", "さくら"])
def test_scripts_without_spaces_are_read_by_character(text: str) -> None:
    assert terms(text)[: len(text)] == list(text)


def test_only_the_start_of_a_long_prompt_is_read() -> None:
    assert terms("a " * 1_000_000)[:-1] == terms("a " * 10_000)[:-1]
    assert len(terms("a " * 10_000)) == 2 * MAX_TOKENS + 1
    assert max(map(len, terms("a" * 1_000_000))) <= MAX_CHARACTERS + 2


@given(ANY_TEXT)
def test_terms_can_be_stored(prompt: str) -> None:
    for term in terms(prompt):
        assert "\0" not in term
        term.encode()


@given(ANY_TEXT)
def test_structure_is_nine_finite_figures(prompt: str) -> None:
    (figures,) = structure([prompt]).tolist()
    assert len(figures) == 9
    assert all(map(math.isfinite, figures))


@given(ANY_TEXT | WRITTEN)
def test_terms_are_those_that_one_expression_after_the_other_finds(prompt: str) -> None:
    assert terms(prompt) == plain_terms(prompt)


@given(st.lists(ANY_TEXT | WRITTEN, min_size=1, max_size=5))
def test_structure_is_what_one_expression_after_the_other_finds(prompts: list[str]) -> None:
    assert structure(prompts) == pytest.approx(np.array(list(map(plain_structure, prompts))), abs=1e-12)


def test_every_character_is_read_as_the_expressions_read_it() -> None:
    characters = list(map(chr, [*range(0x20000), *range(0x20000, sys.maxunicode + 1, 97)]))
    lines = [". a".join(characters[start : start + 100]) for start in range(0, len(characters), 100)]
    assert list(map(terms, lines)) == list(map(plain_terms, lines))
    assert structure(lines) == pytest.approx(np.array(list(map(plain_structure, lines))), abs=1e-12)


@pytest.mark.parametrize("question", ["Who?", "谁写了红楼梦？", "من كتب هذا؟ ", "Who?\n"])  # noqa: RUF001
def test_a_question_is_one_in_any_script(question: str) -> None:
    assert structure([question])[0, 5:7].tolist() == [1.0, 1.0]


def test_the_form_of_a_list_shows() -> None:
    plain, listed = structure(["milk eggs bread", "- milk\n- eggs\n- bread"])
    assert (plain[7], listed[7]) == (0.0, 1.0)
    assert listed[1] == pytest.approx(math.log1p(2))
