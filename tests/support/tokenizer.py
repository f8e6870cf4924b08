"""A tokenizer that needs no model: every word is a token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.model.messages import template_messages


class WordTokenizer:
    """Words between white space are tokens; a message costs two more, and the answer's opening one."""

    def __init__(self, context_tokens: int = 2048) -> None:
        self._context_tokens = context_tokens

    @property
    def context_tokens(self) -> int:
        return self._context_tokens

    def count(self, text: str) -> int:
        return len(text.split())

    def bound(self, text: str) -> int:
        return len(text)

    def count_messages(self, messages: Sequence[Mapping[str, Any]]) -> int:
        return 1 + sum(2 + self.count(message["content"]) for message in template_messages(messages))

    def bound_messages(self, messages: Sequence[Mapping[str, Any]]) -> int:
        return 1 + sum(2 + len(message["content"]) for message in template_messages(messages))
