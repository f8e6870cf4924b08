"""What is read off prompts: their words and marks in order, and their outward form. No language is assumed.

Stored models expect prompts to be read as they were when these were learned: whoever changes the reading, or the
coordinates made of it, has to see to the table `class_models`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.discovery.characters import (
    BREAK,
    DIGIT,
    FIGURE,
    FULL_STOP,
    MARK,
    NUMBER,
    SIGN,
    SPACE,
    STOP,
    UPPER,
    Codes,
    Kinds,
    codes,
    joined,
    kinds,
    traits,
)
from app.domain.arrays import Bools, Floats, Ints

MAX_TOKENS = 400
"""What a prompt is about shows at its start; a long document must not slow its assignment."""
MAX_CHARACTERS = 4_000

START, END = "<", ">"
"""What the first and the last token of a prompt pair up with."""
SPOKEN = {NUMBER: "0", FIGURE: "0", BREAK: "\n"}
"""How tokens of these kinds read, whatever stands there."""

# Blanks, not \s: that would run over empty lines, again from each of them. A line break comes first because it is
# found much faster than the start of a line.
_LIST_MARK = re.compile(r"\n[ \t]*(?:[-*•]|\(?\w{1,2}[.):])")
_QUESTION_MARKS = ("?", "？", "؟")  # noqa: RUF001


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """The first MAX_TOKENS tokens of each of N prompts, T in all, in order.

    Words, numbers and runs of line breaks are a token each, and so is every mark.
    """

    text: str
    """All prompts in lower case, as far as they are read."""
    characters: Codes
    """Of `text`."""
    starts: Ints
    """T: where each begins in `text`."""
    ends: Ints
    """T: where it has ended; less than the length of `text`."""
    kinds: Kinds
    """T: of what kind its characters are."""
    counts: Ints
    """N: how many each prompt has."""


def read(prompts: Sequence[str]) -> Tokens:
    """The tokens of one prompt or more."""
    texts = [prompt[:MAX_CHARACTERS].lower() for prompt in prompts]
    text = joined(texts)
    characters = codes(text)
    after = np.cumsum([len(text) + 1 for text in texts])
    kind = kinds()[characters]
    # What stands between two prompts belongs to neither.
    kind[after - 1] = 0
    begins = kind >= MARK
    begins[0] = True
    begins[1:] |= kind[1:] != kind[:-1]
    bounds = np.append(np.flatnonzero(begins), len(kind))
    runs = np.flatnonzero(kind[bounds[:-1]])
    counts = np.diff(np.searchsorted(bounds[runs], after), prepend=0)
    if counts.max() > MAX_TOKENS:
        place = np.arange(len(runs)) - np.repeat(np.cumsum(counts) - counts, counts)
        runs, counts = runs[place < MAX_TOKENS], np.minimum(counts, MAX_TOKENS)
    starts, ends = bounds[runs], bounds[runs + 1]
    return Tokens(text=text, characters=characters, starts=starts, ends=ends, kinds=kind[starts], counts=counts)


def terms(prompt: str) -> list[str]:
    """Tokens and pairs of neighbouring ones. All numbers read `0`; the ends of the prompt pair up too."""
    found = read([prompt])
    spans = zip(found.starts.tolist(), found.ends.tolist(), found.kinds.tolist(), strict=True)
    tokens = [SPOKEN.get(kind) or found.text[start:end] for start, end, kind in spans]
    # No token has a space in it, so that pairs are told from tokens.
    return tokens + [f"{left} {right}" for left, right in zip([START, *tokens], [*tokens, END], strict=True)]


def structure(prompts: Sequence[str]) -> Floats:
    """N x 9, of one prompt or more: length, lines, numbers, capitals, sentences, questions (two), lists and marks."""
    texts = [prompt[:MAX_CHARACTERS] for prompt in prompts]
    trait = traits()[codes(joined(texts))]
    lengths = np.array([len(text) for text in texts])
    starts = np.cumsum(lengths + 1) - lengths - 1
    digit, ends = (trait & DIGIT) > 0, (trait & FULL_STOP) > 0
    ends[:-1] |= ((trait[:-1] & STOP) > 0) & ((trait[1:] & SPACE) > 0)
    numbers = digit.copy()
    numbers[1:] &= ~digit[:-1]

    def counted(which: Bools) -> Ints:
        return np.add.reduceat(which, starts, dtype=np.int64)

    sizes = np.maximum(lengths, 1)
    columns = (
        np.log([max(len(prompt), 1) for prompt in prompts]),
        np.log1p([text.count("\n") for text in texts]),
        np.log1p(counted(numbers)),
        counted((trait & UPPER) > 0) / sizes * 10,
        np.log1p(counted(ends)),
        [any(mark in text for mark in _QUESTION_MARKS) for text in texts],
        [prompt.rstrip().endswith(_QUESTION_MARKS) for prompt in prompts],
        [len(_LIST_MARK.findall(f"\n{text}")) > 1 for text in texts],
        counted((trait & SIGN) > 0) / sizes * 10,
    )
    return np.stack([np.asarray(column, dtype=float) for column in columns], axis=1)
