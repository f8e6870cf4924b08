"""What is read off a prompt: its words and marks in order, and its outward form. No language is assumed."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

MAX_TOKENS = 400
"""What a prompt is about shows at its start; a long document must not slow its assignment."""
MAX_CHARACTERS = 20_000

_TOKEN = re.compile(r"[^\W\d_]+|\d+|\n+|[^\w\s]")
# Scripts without spaces between words: every character is a token.
_UNSPACED = re.compile(r"([฀-໿က-႟ក-៿぀-ヿ㐀-鿿])")
_LIST_MARK = re.compile(r"^\s*(?:[-*•]|\(?\w{1,2}[.):])", re.MULTILINE)
_SENTENCE_END = re.compile(r"[.!?](?:\s|$)")
_NUMBER = re.compile(r"\d+")
_MARK = re.compile(r"[^\w\s]")

STRUCTURE = 9
"""Number of figures that `structure` gives."""


def terms(prompt: str) -> list[str]:
    """Tokens and pairs of neighbouring ones. All numbers read `0`; the ends of the prompt pair up too."""
    found = _UNSPACED.sub(r" \1 ", prompt[:MAX_CHARACTERS].lower())
    tokens = [_normal(token) for token in _TOKEN.findall(found)[:MAX_TOKENS]]
    return tokens + [f"{left} {right}" for left, right in zip(["<", *tokens], [*tokens, ">"], strict=True)]


def _normal(token: str) -> str:
    if token[0] == "\n":
        return "\n"
    return "0" if token[0].isdecimal() else token


def structure(prompt: str) -> Sequence[float]:
    """Length, lines, numbers, capitals, sentences, questions, lists and punctuation."""
    text = prompt[:MAX_CHARACTERS]
    size = max(len(text), 1)
    return (
        math.log(size),
        math.log1p(text.count("\n")),
        math.log1p(len(_NUMBER.findall(text))),
        sum(map(str.isupper, text)) / size * 10,
        math.log1p(len(_SENTENCE_END.findall(text))),
        float("?" in text),
        float(text.rstrip().endswith("?")),
        float(len(_LIST_MARK.findall(text)) > 1),
        len(_MARK.findall(text)) / size * 10,
    )
