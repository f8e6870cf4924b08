from __future__ import annotations

import pytest

from app.domain.reference import is_correct

QUIZ = "Which of them flies?\n(A): a ferry\n(B): The Grey Heron\n(C): neither of the two"


@pytest.mark.parametrize(
    ("reference", "answer", "correct"),
    [
        ("2 + 3 = 5\n#### 5", "There are 5 of them.", True),
        ("#### 5", "First 7, then 5", True),
        ("#### 5", "5 at first, 7 at last", False),
        ("#### 1,234", "It costs $1234.", True),
        ("#### 1234", "It costs $1,234.00 in all", True),
        ("#### 1234", "12,345", False),
        ("#### 0.5", "That is 0.50 litres.", True),
        ("#### -3", "It falls to -3.", True),
        ("#### 3", "It falls to -3.", False),
        ("5 #### 6 #### 7", "7", True),
        ("#### 5", "five", False),
        ("#### 5", "", False),
        ("#### five", "5", None),
    ],
)
def test_a_worked_solution_ends_in_its_number(reference: str, answer: str, correct: bool | None) -> None:
    assert is_correct("How many?", reference, answer) is correct


@pytest.mark.parametrize("reference", ["B", " B ", "the grey heron", "Grey heron."])
@pytest.mark.parametrize(
    "answer",
    [
        "(B)", "B.", "B)", "B:", "B", " B\n", "**B**", "(B): The Grey Heron", "B. The Grey Heron",
        "The answer is (B).", "Answer: B", "Answer: B.", "Sure! Here is the answer:\n\nB", "the correct answer is B",
        "It is the grey heron, of course.", "B. Not (A), which swims.", "I. Introduction\n(B)",
    ],
)  # fmt: skip
def test_a_choice_is_named_by_letter_or_by_text(reference: str, answer: str) -> None:
    assert is_correct(QUIZ, reference, answer) is True


@pytest.mark.parametrize(
    "answer",
    [
        "(A)", "C: neither of the two", "C. Not (B).", "Answer: A", "", "I cannot say.", "(E)",
        "A ferry or a grey heron", "Big birds", "Vitamin B is found in fish, not in the answer",
    ],
)  # fmt: skip
def test_any_other_choice_is_wrong(answer: str) -> None:
    assert is_correct(QUIZ, "B", answer) is False


@pytest.mark.parametrize("reference", ["D", "a swan", ""])
def test_a_reference_that_is_none_of_the_choices_checks_nothing(reference: str) -> None:
    assert is_correct(QUIZ, reference, "(B)") is None


@pytest.mark.parametrize(
    ("reference", "answer", "correct"),
    [
        ("Archimedes", "It was ARCHIMEDES!", True),
        ("The Beatles", "Beatles", True),
        ("Beatles", "That song is by the Beatles.", True),
        ("a hyperbole; overstatement", "One calls it an overstatement.", True),
        ("1,066", "In 1 066 or so", True),
        ("Mars", "Marseille", False),
        ("ham", "a hamster; Birmingham", False),
        ("Mars", "", False),
        ("one two three four five", "One, two, three: four-five.", True),
        ("one two three four five six", "one two three four five six", None),
        ("one two three four five six; half a dozen", "one two three four five six", True),
        ("Write to your landlord and thank him for the lamp.", "Dear landlord,", None),
        ("", "anything", None),
        (" ; .", "anything", None),
        ("the", "the", None),
    ],
)
def test_short_names_may_be_anywhere_in_the_answer(reference: str, answer: str, correct: bool | None) -> None:
    assert is_correct("Who was it?", reference, answer) is correct
