"""Whether an answer agrees with its reference answer: a second measure of quality, beside the judge's preference.

Three forms of reference can be checked for being right: a worked solution that ends in `#### number`, one of the
choices `(A): ...` of the prompt, and short names or figures, several accepted spellings separated by semicolons. Prose
is neither right nor wrong; answers are held against it by ROUGE-L (Lin, *ROUGE*, 2004, section 3.1), and differ where
that does by more than ROUGE_MARGIN.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal

import numpy as np

SHORT_WORDS = 5
"""A longer reference is prose, which no string comparison can check."""

ROUGE_MARGIN = 0.3
"""Of ROUGE-L, 0 to 1: below it two texts are taken to say the same. On the recorded answers to the paper's prompts with
a reference in prose, the nearer of two that differ by more is GPT-4's pick in 66 %; of those that differ by more than
0.1, only in 46 %. Half of all pairs differ by less than 0.07."""

MOST_WORDS = 5000
"""Of a text that is compared; the time grows with their product."""

_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
_CHOICE = re.compile(r"^\(([A-Z])\):[ \t]*(\S.*)$", re.MULTILINE)
_PICKED = re.compile(r"(?:^|[\s(])([A-Z])(?:\)|:|\.(?:\s|$))")
_LETTER_ALONE = re.compile(r"(?:^|[Aa]nswer(?: is)?:?\s)\W{0,9}([A-Z])\W{0,9}$", re.MULTILINE)
_ARTICLE = re.compile(r"\b(a|an|the)\b")


def better(prompt: str, reference: str, answers: Sequence[str]) -> int | None:
    """The index of the only answer that is right, or that is nearest to a reference in prose; None if none is better.

    All right and all wrong are the same: a shorter answer is not better for being shorter.
    """
    correct = [is_correct(prompt, reference, answer) for answer in answers]
    if None not in correct:
        return correct.index(True) if correct.count(True) == 1 else None
    scores = [rouge_l(reference, answer) for answer in answers]
    best = max(range(len(scores)), key=scores.__getitem__)
    others = [score for place, score in enumerate(scores) if place != best]
    return best if scores[best] - max(others) > ROUGE_MARGIN else None


def rouge_l(reference: str, answer: str) -> float:
    """F-measure of the longest common subsequence of words, 0 to 1."""
    wanted, found = (_plain(text).split()[:MOST_WORDS] for text in (reference, answer))
    if not wanted or not found:
        return 0.0
    return 2 * _common(wanted, found) / (len(wanted) + len(found))


def _common(wanted: Sequence[str], found: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    numbers = {word: number for number, word in enumerate(dict.fromkeys((*wanted, *found)))}
    theirs = np.array([numbers[word] for word in found])
    row = np.zeros(len(found) + 1, dtype=np.int64)
    for word in wanted:
        row[1:] = np.maximum.accumulate(np.maximum(row[1:], row[:-1] + (theirs == numbers[word])))
    return int(row[-1])


def is_correct(prompt: str, reference: str, answer: str) -> bool | None:
    """Whether `answer` says what `reference` says; None where that cannot be checked."""
    choices = {letter: _plain(text) for letter, text in _CHOICE.findall(prompt)}
    if "####" in reference:
        return _same_number(reference.rpartition("####")[2], answer)
    if choices:
        return _same_choice(choices, reference, answer)
    names = [name for name in (_plain(part) for part in reference.split(";")) if name]
    if not names or min(len(name.split()) for name in names) > SHORT_WORDS:
        return None
    padded = f" {_plain(answer)} "
    return any(f" {name} " in padded for name in names)


def _same_number(reference: str, answer: str) -> bool | None:
    """The last number of a worked solution is its result."""
    wanted, found = _NUMBER.findall(reference), _NUMBER.findall(answer)
    if not wanted:
        return None
    return bool(found) and _value(found[-1]) == _value(wanted[-1])


def _value(number: str) -> Decimal:
    """Exactly: as floats, all numbers of more than 308 digits are the same."""
    return Decimal(number.replace(",", ""))


def _same_choice(choices: dict[str, str], reference: str, answer: str) -> bool | None:
    wanted = reference.strip() if reference.strip() in choices else None
    wanted = wanted or next((letter for letter, text in choices.items() if text == _plain(reference)), None)
    if wanted is None:
        return None
    found = _PICKED.findall(answer) + _LETTER_ALONE.findall(answer)
    picked = [letter for letter in found if letter in choices]
    if picked:
        return bool(picked[0] == wanted)
    named = [letter for letter, text in choices.items() if f" {text} " in f" {_plain(answer)} "]
    return named == [wanted]


def _plain(text: str) -> str:
    """Lower case, without punctuation, articles and repeated spaces."""
    words = re.sub(r"[^\w\s]", " ", text.lower())
    return " ".join(_ARTICLE.sub(" ", words).split())
