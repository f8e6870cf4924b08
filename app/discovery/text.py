"""What is read off a prompt: its words and marks in order, and its outward form. No language is assumed.

Stored models expect prompts to be read as they were when these were learned: whoever changes the reading, or the
coordinates made of it, has to see to the table `class_models`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import islice

MAX_TOKENS = 400
"""What a prompt is about shows at its start; a long document must not slow its assignment."""
MAX_CHARACTERS = 4_000

# Marks are what is neither word nor space, and can be stored: no control characters, no halves of surrogate pairs.
_TOKEN = re.compile(r"[^\W\d_]+|\d+|\n+|[^\w\s\x00-\x1f\x7f-\x9f\ud800-\udfff]")
# Scripts without spaces between words (Thai, Lao, Myanmar, Khmer, kana, Han): every character is a token.
_UNSPACED = re.compile(r"([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff])")
# Blanks, not \s: that would run over empty lines, again from each of them.
_LIST_MARK = re.compile(r"^[ \t]*(?:[-*•]|\(?\w{1,2}[.):])", re.MULTILINE)
_SENTENCE_END = re.compile(r"[.!?؟](?:\s|$)|[。！？]")  # noqa: RUF001
_QUESTION_MARKS = ("?", "？", "؟")  # noqa: RUF001
_NUMBER = re.compile(r"\d+")
_MARK = re.compile(r"[^\w\s]")


def terms(prompt: str) -> list[str]:
    """Tokens and pairs of neighbouring ones. All numbers read `0`; the ends of the prompt pair up too."""
    found = _UNSPACED.sub(r" \1 ", prompt[:MAX_CHARACTERS].lower())
    tokens = [_normal(token[0]) for token in islice(_TOKEN.finditer(found), MAX_TOKENS)]
    return tokens + [f"{left} {right}" for left, right in zip(["<", *tokens], [*tokens, ">"], strict=True)]


def _normal(token: str) -> str:
    if token[0] == "\n":
        return "\n"
    return "0" if token[0].isdecimal() else token


def structure(prompt: str) -> Sequence[float]:
    """Nine figures: length, lines, numbers, capitals, sentences, questions (two), lists and marks."""
    text = prompt[:MAX_CHARACTERS]
    size = max(len(text), 1)
    return (
        math.log(max(len(prompt), 1)),
        math.log1p(text.count("\n")),
        math.log1p(len(_NUMBER.findall(text))),
        sum(map(str.isupper, text)) / size * 10,
        math.log1p(len(_SENTENCE_END.findall(text))),
        float(any(mark in text for mark in _QUESTION_MARKS)),
        float(prompt.rstrip().endswith(_QUESTION_MARKS)),
        float(len(_LIST_MARK.findall(text)) > 1),
        len(_MARK.findall(text)) / size * 10,
    )
