"""`/v1/responses`, as far as it is text and one line says all: a batch keeps nothing that a later line could name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.domain.directive import Placement
from app.domain.endpoints.base import Endpoint, Message, Prompt, append, append_to_last, is_list_of, is_structured
from app.domain.errors import InvalidInput
from app.domain.text import text_of

REFUSED = {
    "background": "a batch runs in the background by itself: leave it out.",
    "conversation": "no conversation is kept: put its messages into 'input'.",
    "previous_response_id": "no response is kept to go on from: put the earlier messages into 'input'.",
    "prompt": "no prompt templates are kept: write the text into 'instructions' and 'input'.",
    "store": "a response stands in the batch's output file and cannot be asked for by its id: leave it out.",
}
"""Parameters that cannot be had in a batch, and what to do instead."""
OWN_TOOLS = ("custom", "function")
"""Tools that the user runs. All others would have to run here."""
TEXT_PARTS = ("input_text", "output_text", "refusal", "text", "summary_text", "reasoning_text")


class Responses(Endpoint):
    path = "/v1/responses"
    prompt_name = "input"

    def check(self, body: Mapping[str, Any]) -> None:
        for name, remedy in REFUSED.items():
            if body.get(name):
                raise _fault(
                    f"'body.{name}' cannot be used in a batch: {remedy}", f"body.{name}", "unsupported_parameter"
                )
        _check_tools(body.get("tools"))
        if not isinstance(body.get("instructions"), str | None):
            raise _fault("'body.instructions' must be a text.", "body.instructions", "invalid_instructions")
        given = body.get("input")
        if isinstance(given, str):
            return
        if not is_list_of(dict, given):
            raise _fault(
                "'body.input' must be a text, or a list of at least one item, such as a message with role and content.",
                "body.input",
            )
        for index, item in enumerate(body["input"]):
            _check_item(item, f"body.input[{index}]")

    def messages(self, body: Mapping[str, Any]) -> Sequence[Message]:
        instructions = body.get("instructions")
        first = [{"role": "system", "content": instructions}] if instructions else []
        given = body["input"]
        if isinstance(given, str):
            return [*first, {"role": "user", "content": given}]
        return [*first, *map(_message, given)]

    def prompts(self, body: Mapping[str, Any]) -> Sequence[Prompt]:
        messages = self.messages(body)
        if isinstance(body["input"], str) or all(item.get("role") for item in body["input"]):
            return [messages]
        # How a template writes calls of tools is not known here: at the least it is their text.
        return ["\n".join(text_of(message["content"]) for message in messages)]

    def takes_directive(self, body: Mapping[str, Any]) -> bool:
        return True

    def place(self, body: Mapping[str, Any], text: str, placement: Placement) -> dict[str, Any]:
        """A system message is `instructions`, unless only `input` has one: two would be too many for some models."""
        given, part = body["input"], "input_text"
        items = [{"role": "user", "content": given}] if isinstance(given, str) else given
        if placement is Placement.SYSTEM:
            instructions = body.get("instructions")
            placed = None if instructions else append_to_last(items, ("system", "developer"), text, part=part)
            return {**body, "input": placed} if placed else {**body, "instructions": append(instructions, text)}
        if isinstance(given, str):
            return {**body, "input": append(given, text)}
        placed = append_to_last(items, ("user",), text, part=part)
        return {**body, "input": placed or [*items, {"role": "user", "content": text}]}

    def answer(self, response: Mapping[str, Any]) -> str:
        items = [item for item in response.get("output") or () if isinstance(item, Mapping)]
        return "\n".join(text_of(item.get("content")) for item in items if item.get("type") == "message")

    def single(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """It has no parameter for more."""
        return dict(body)

    def sequences(self, body: Mapping[str, Any]) -> int:
        return 1

    def most_tokens(self, body: Mapping[str, Any]) -> object:
        return body.get("max_output_tokens")

    def wants_exact_form(self, body: Mapping[str, Any]) -> bool:
        text = body.get("text")
        return super().wants_exact_form(body) or (isinstance(text, Mapping) and is_structured(text.get("format")))


def _fault(message: str, param: str, code: str = "invalid_input") -> InvalidInput:
    return InvalidInput(message, param=param, code=code)


def _check_tools(tools: object) -> None:
    if not tools:
        return
    if not is_list_of(dict, tools):
        raise _fault("'body.tools' must be a list of objects.", "body.tools", "invalid_tools")
    for index, tool in enumerate(tools if isinstance(tools, list) else ()):
        if tool.get("type") not in OWN_TOOLS:
            raise _fault(
                f"'body.tools[{index}].type' is {str(tool.get('type'))[:80]!r}, but a batch has no hosted tools: "
                f"leave it out, or offer one of your own, of type {' or '.join(OWN_TOOLS)}.",
                f"body.tools[{index}].type",
                "unsupported_tool",
            )


def _check_item(item: Mapping[str, Any], param: str) -> None:
    if item.get("type") == "item_reference":
        raise _fault(
            f"'{param}' refers to an item of an earlier response, and none is kept: put the item itself there.", param
        )
    role, content = item.get("role"), item.get("content")
    if not role and not item.get("type"):
        raise _fault(f"'{param}' must have a role and a content, or a type.", param)
    if role and not isinstance(role, str):
        raise _fault(f"'{param}.role' must be a text such as user.", f"{param}.role")
    parts = [part for value in (content, item.get("output")) if isinstance(value, list) for part in value]
    for part in parts:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind not in TEXT_PARTS or not isinstance(part.get("text") or part.get("refusal"), str):
            raise _fault(
                f"'{param}' holds a part of type {str(kind)[:80]!r}: in a batch every part must be a text, as in "
                '{"type": "input_text", "text": "..."}; images, audio and files are not supported.',
                param,
            )
    if role and not isinstance(content, str) and not is_list_of(dict, content):
        raise _fault(f"'{param}.content' must be a text or a list of text parts.", f"{param}.content")


def _message(item: Message) -> Message:
    """An item of `input` as a message; what a model or a tool did is said with its name and its result."""
    role, content = item.get("role"), item.get("content")
    if not role:
        said = [item.get(name) for name in ("name", "arguments", "input", "output", "content", "summary")]
        role = "tool" if "output" in item else "assistant"
        content = "\n".join(filter(None, map(text_of, said)))
    elif isinstance(content, list):
        content = [{"type": "text", "text": part.get("text") or part.get("refusal") or ""} for part in content]
    return {"role": role, "content": content}
