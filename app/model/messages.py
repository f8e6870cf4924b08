"""OpenAI chat messages as chat templates take them: a role and one text each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.domain.errors import InvalidInput


def template_messages(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Copies of `messages` whose content is a string; text parts are joined by a newline, as vLLM does.

    Raises:
        InvalidInput: there is no message, or one has no role or holds something other than text.
    """
    if isinstance(messages, str) or not isinstance(messages, Sequence) or not messages:
        raise InvalidInput("`messages` must be a list of at least one message.", param="messages")
    return [_template_message(message, f"messages[{index}]") for index, message in enumerate(messages)]


def _template_message(message: Mapping[str, Any], param: str) -> dict[str, Any]:
    if not isinstance(message, Mapping):
        raise InvalidInput(f"`{param}` must be an object with `role` and `content`.", param=param)
    role = message.get("role")
    if not isinstance(role, str) or not role:
        raise InvalidInput(f"`{param}.role` must be a string such as `user`.", param=f"{param}.role")
    content = message.get("content")
    if content is None and message.get("tool_calls"):
        return {**message, "content": ""}
    return {**message, "content": _text(content, f"{param}.content")}


def _text(content: object, param: str) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence) and content:
        return "\n".join(_part_text(part, f"{param}[{index}]") for index, part in enumerate(content))
    raise InvalidInput(f"`{param}` must be a string or a list of text parts.", param=param)


def _part_text(part: object, param: str) -> str:
    if isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str):
        return str(part["text"])
    raise InvalidInput(
        f'`{param}` must be a text part, `{{"type": "text", "text": ...}}`: images, audio and files are not supported.',
        param=param,
    )
