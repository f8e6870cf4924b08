"""What each character is: tables over all of Unicode, so that many prompts are read at once instead of one by one."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.uint32]
Kinds = NDArray[np.uint8]

WORD, NUMBER, BREAK = 1, 2, 3
"""Kinds of characters of which neighbouring ones are one token; 0 is no part of any."""
MARK, FIGURE = 4, 5
"""Kinds of characters that are a token each; a figure is a number too."""

UPPER, DIGIT, SIGN, SPACE, STOP, FULL_STOP = 1, 2, 4, 8, 16, 32
"""Traits: a stop ends a sentence where space follows, a full stop always."""

# Scripts without spaces between words (Thai, Lao, Myanmar, Khmer, kana, Han): every character is a token.
_UNSPACED = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
_KINDS = (
    (r"[^\W\d_]+", WORD),
    (r"\d+", NUMBER),
    (r"\n", BREAK),
    # Marks are what is neither word nor space, and can be stored: no control characters, no halves of surrogate pairs.
    (r"[^\w\s\x00-\x1f\x7f-\x9f\ud800-\udfff]+", MARK),
    (rf"[{_UNSPACED}]+", MARK),
    (rf"(?:(?=\d)[{_UNSPACED}])+", FIGURE),
)
_TRAITS = (
    (r"\d+", DIGIT),
    (r"[^\w\s]+", SIGN),
    (r"\s+", SPACE),
    (r"[.!?؟]", STOP),
    (r"[。！？]", FULL_STOP),  # noqa: RUF001
)


def joined(texts: Sequence[str]) -> str:
    """All texts, a line break after each."""
    return "\n".join([*texts, ""])


def codes(text: str) -> Codes:
    """The code of every character."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


@cache
def kinds() -> Kinds:
    """The kind of every character, by its code."""
    table = np.zeros(sys.maxunicode + 1, dtype=np.uint8)
    every = _every_character()
    for pattern, kind in _KINDS:
        for run in re.finditer(pattern, every):
            table[run.start() : run.end()] = kind
    return table


@cache
def traits() -> Kinds:
    """The traits of every character, added up, by its code."""
    every = _every_character()
    table = np.fromiter(map(str.isupper, every), dtype=np.uint8, count=len(every)) * np.uint8(UPPER)
    for pattern, trait in _TRAITS:
        for run in re.finditer(pattern, every):
            table[run.start() : run.end()] |= trait
    return table


def _every_character() -> str:
    return np.arange(sys.maxunicode + 1, dtype="<u4").tobytes().decode("utf-32-le", "surrogatepass")
