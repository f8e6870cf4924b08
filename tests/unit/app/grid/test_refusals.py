from __future__ import annotations

import json

import pytest

from app.grid.http import Question
from app.grid.refusals import said

WORDS = "correct horse  battery"


def quoted(words: str, question: Question) -> str:
    return said(json.dumps({"message": words}), question.secrets)


@pytest.mark.parametrize(
    ("words", "quote"),
    [
        ("password correct horse  battery is wrong", "password *** is wrong"),
        ("password correct horse battery is wrong", "password *** is wrong"),
        ("password correct\nhorse battery is wrong", "password *** is wrong"),
        ("battery is no user, correct is none", "battery is no user, correct is none"),
        ("neither correct_user nor Y29ycmVjdF91c2VyOmNvcnJlY3QgaG9yc2UgIGJhdHRlcnk=", "neither *** nor ***"),
    ],
)
def test_a_secret_of_several_words_is_masked_as_a_whole(words: str, quote: str) -> None:
    assert quoted(words, Question(path="/", auth=("correct_user", WORDS))) == quote


def test_the_longest_is_masked_first() -> None:
    assert quoted("not anna-secret, anna", Question(path="/", auth=("anna", "anna-secret"))) == "not ***, ***"


@pytest.mark.parametrize(("words", "quote"), [("Bearer s3cret?", "***?"), ("No s3cret here", "No *** here")])
def test_a_token_is_masked_with_and_without_its_scheme(words: str, quote: str) -> None:
    assert quoted(words, Question(path="/", headers={"Authorization": "Bearer s3cret"})) == quote


@pytest.mark.parametrize(("words", "quote"), [("a bad thing", ""), ("Stop this", "Stop this")])
def test_what_holds_a_short_secret_is_not_quoted(words: str, quote: str) -> None:
    assert quoted(words, Question(path="/", auth=("a", "bb"))) == quote


@pytest.mark.parametrize("auth", [("", ""), ("  ", "")])
def test_what_is_empty_is_no_secret(auth: tuple[str, str]) -> None:
    assert quoted("No such zone", Question(path="/", headers={"auth-token": ""}, auth=auth)) == "No such zone"


@pytest.mark.parametrize("opening", ["[", '{"message":'])
def test_what_is_nested_too_deeply_is_not_quoted(opening: str) -> None:
    assert said(opening * 200_000, []) == ""
    closing = "]" if opening == "[" else "}"
    assert said(opening * 200_000 + "1" + closing * 200_000, []) == ""
