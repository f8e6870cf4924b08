"""Whether an answer agrees with its reference answer: a second measure of quality, beside the judge's preference.

Three forms of reference can be checked without a judge; anything else is None, not wrong:
a worked solution that ends in `#### number`, one of the choices `(A): ...` of the prompt, and short names or figures,
several accepted spellings separated by semicolons.
"""

from __future__ import annotations

import re

SHORT_WORDS = 5
"""A longer reference is prose, which no string comparison can check."""

_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
_CHOICE = re.compile(r"^\(([A-Z])\):\s*(.+?)\s*$", re.MULTILINE)
_PICKED = re.compile(r"(?:^|[\s(])([A-Z])(?:\)|:|\.(?:\s|$))")
_LETTER_ALONE = re.compile(r"(?:^|[Aa]nswer(?: is)?:?\s)\W*([A-Z])\W*$", re.MULTILINE)
_ARTICLE = re.compile(r"\b(a|an|the)\b")


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


def _value(number: str) -> float:
    return float(number.replace(",", ""))


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
