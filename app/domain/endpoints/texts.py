"""A parameter that holds texts without roles: a text, the numbers of its tokens, or a list of either."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.domain.endpoints.base import Prompt, is_list_of
from app.domain.errors import InvalidInput


def check_texts(body: Mapping[str, Any], name: str) -> None:
    """Raises InvalidInput: the parameter `name` is none of these."""
    value: Any = body.get(name)
    if isinstance(value, str) or is_list_of(str, value) or _is_tokens(value):
        return
    if is_list_of(list, value) and all(map(_is_tokens, value)):
        return
    raise InvalidInput(
        f"'body.{name}' must be a text, a list of texts, the numbers of a text's tokens, or a list of such lists; no "
        "list may be empty.",
        param=f"body.{name}",
        code=f"invalid_{name}",
    )


def _is_tokens(value: Any) -> bool:
    return is_list_of(int, value) and min(value) >= 0


def texts_in(value: str | Sequence[Any]) -> Sequence[str]:
    """Those that are there as texts."""
    return [value] if isinstance(value, str) else [item for item in value if isinstance(item, str)]


def token_prompts(value: str | Sequence[Any]) -> Sequence[Prompt]:
    if isinstance(value, str):
        return [value]
    if isinstance(value[0], int):
        return [len(value)]
    return [item if isinstance(item, str) else len(item) for item in value]


def count_texts(value: object) -> int:
    """How many there are; also of what was not checked."""
    return len(value) if isinstance(value, list) and value and not isinstance(value[0], int) else 1
