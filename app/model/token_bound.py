"""How many tokens a prompt can have at the most, without counting them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import tokenizers

from app.model.chat_template import ChatTemplate
from app.model.messages import template_messages

NFC_GROWTH = 3
"""Most by which NFC makes UTF-8 longer (Unicode's FAQ on normalization); it leaves ASCII as it is."""
SPLITTERS = frozenset({"ByteLevel", "Digits", "Punctuation", "Split"})
"""Pre-tokenizers that only cut."""
FRAMES = 1024
"""Sequences of roles that are remembered."""


class Frame(NamedTuple):
    """What a blind template makes of messages of certain roles, whatever they say."""

    most: int
    """Tokens beside the contents."""
    times: int
    """How often it prints the content that it prints most often."""


class TokenBound:
    """Bounds for a byte-level tokenizer. Thread-safe.

    Args:
        growth: by which the tokenizer may make a text longer, from `growth_of`.
        template: where it is blind, it is rendered only once for all messages of the same roles.
    """

    def __init__(self, growth: int, template: ChatTemplate) -> None:
        self._growth = growth
        self._template = template
        self._frame = lru_cache(maxsize=FRAMES)(self._measure)

    def __call__(self, messages: Sequence[Mapping[str, Any]]) -> int:
        """Raises InvalidInput: the template refuses these messages."""
        plain = _plain(messages) if self._template.is_blind else None
        if plain is None:
            # A list of parts, a tool call, a name: what the template makes of it is seen when it has made it.
            return self._of(self._template.render(template_messages(messages)))
        roles, contents = plain
        frame = self._frame(tuple(roles))
        return frame.most + frame.times * sum(map(self._of, contents))

    def _measure(self, roles: tuple[str, ...]) -> Frame:
        # Private characters, which stand in no template.
        marks = [f"\ue000{index}\ue001" for index in range(len(roles))]
        text = self._template.render([{"role": role, "content": mark} for role, mark in zip(roles, marks, strict=True)])
        times = max(text.count(mark) for mark in marks)
        for mark in marks:
            text = text.replace(mark, "")
        return Frame(most=self._of(text), times=times)

    def _of(self, text: str) -> int:
        return bound_of(text, self._growth)


def bound_of(text: str, growth: int) -> int:
    """Tokens that a text has at the most, by the growth of its tokenizer."""
    return len(text) if text.isascii() else growth * len(text.encode(errors="surrogatepass"))


def _plain(messages: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[str]] | None:
    """Roles and contents of messages that have a role and a text each and nothing else; otherwise None."""
    roles, contents = [], []
    for message in messages if isinstance(messages, list) else ():
        if type(message) is not dict or len(message) > 2:
            return None
        role, content = message.get("role"), message.get("content")
        if type(role) is not str or not role or type(content) is not str:
            return None
        roles.append(role)
        contents.append(content)
    return (roles, contents) if roles else None


def growth_of(tokenizer: tokenizers.Tokenizer) -> int | None:
    """How many tokens a text can have for each of its bytes in UTF-8, if that is known; only one where it is ASCII.

    Byte-level BPE begins with a symbol for every byte and only merges them, and a special token replaces one byte or
    more. A normaliser may make the text longer first, and a prefix space does.
    """
    parts = json.loads(tokenizer.to_str())
    first = parts["pre_tokenizer"] or {}
    cuts = first["pretokenizers"] if first.get("type") == "Sequence" else [first]
    byte_level = [cut for cut in cuts if cut.get("type") == "ByteLevel"]
    is_byte_level = (
        parts["model"]["type"] == "BPE"
        and not parts["model"]["byte_fallback"]
        and len(byte_level) == 1
        and not byte_level[0]["add_prefix_space"]
        and all(cut.get("type") in SPLITTERS for cut in cuts)
    )
    match parts["normalizer"]:
        case None if is_byte_level:
            return 1
        case {"type": "NFC"} if is_byte_level:
            return NFC_GROWTH
        case _:
            return None
