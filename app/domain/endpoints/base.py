"""What Sprout has to know of an endpoint's requests and answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from app.domain.directive import Placement
from app.domain.workload import DEFAULT_WORKLOAD

Message = Mapping[str, Any]
"""As in a chat: a role, and a content that is a text or a list of parts."""

Prompt = Sequence[Message] | str | int
"""What a model reads at once: a chat, which goes through its template, a plain text, or a number of given tokens."""


class Endpoint(ABC):
    """One endpoint. `body` is that of a request that has passed `check`, if nothing else is said."""

    path: ClassVar[str]
    prompt_name: ClassVar[str]
    """The parameter that holds the prompt."""
    workload: ClassVar[str] = DEFAULT_WORKLOAD
    """Of requests that declare none: what is answered otherwise must not share evidence or profiles."""
    generates: ClassVar[bool] = True
    """Whether the answer is a text that the model writes: only then are there levels, classes and judges."""

    @abstractmethod
    def check(self, body: Mapping[str, Any]) -> None:
        """Raises InvalidInput: any body that cannot be answered, or not in a batch."""

    @abstractmethod
    def messages(self, body: Mapping[str, Any]) -> Sequence[Message]:
        """All that is asked, as messages of a chat: what classes, judges and people are shown."""

    @abstractmethod
    def prompts(self, body: Mapping[str, Any]) -> Sequence[Prompt]:
        """All that the model reads, each of which has to fit into its context."""

    @abstractmethod
    def takes_directive(self, body: Mapping[str, Any]) -> bool:
        """Whether a directive has a place in it; without one it is answered at L0."""

    @abstractmethod
    def place(self, body: Mapping[str, Any], text: str, placement: Placement) -> dict[str, Any]:
        """A copy with the directive `text`, which is not empty, at its placement; `takes_directive` says if it can."""

    @abstractmethod
    def answer(self, response: Mapping[str, Any]) -> str:
        """The text of the first answer in a response; empty where it has none."""

    @abstractmethod
    def single(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A copy that asks for one answer, however many the user asked for."""

    @abstractmethod
    def sequences(self, body: Mapping[str, Any]) -> int:
        """Places in the running batch that it takes, 1 or more; also of a body that was not checked."""

    def most_tokens(self, body: Mapping[str, Any]) -> object:
        """The longest answer that it allows, as its user wrote it; None where it allows any."""
        return body.get("max_completion_tokens") or body.get("max_tokens")

    def may_be_cut(self, body: Mapping[str, Any]) -> bool:
        """Whether its user lets the engine cut what is longer than the context, by OpenAI's parameter or by vLLM's."""
        return body.get("truncation") == "auto" or bool(body.get("truncate_prompt_tokens"))

    def wants_exact_form(self, body: Mapping[str, Any]) -> bool:
        """Whether the answer must have a machine-readable form, which a length directive could break."""
        return is_structured(body.get("response_format")) or any(
            body.get(name) for name in ("tools", "functions", "structured_outputs")
        )


def is_structured(form: object) -> bool:
    """Whether a `response_format`, or `text.format`, asks for anything but text."""
    return isinstance(form, Mapping) and form.get("type") not in (None, "text")


def append(content: object, text: str, *, part: str = "text") -> object:
    """A message's content with `text` at its end; `part` is the type of a part that is a text."""
    if isinstance(content, list):
        return [*content, {"type": part, "text": text}]
    return f"{content}\n\n{text}" if content else text


def append_to_last(
    messages: Sequence[Mapping[str, Any]], roles: Sequence[str], text: str, *, part: str = "text"
) -> list[dict[str, Any]] | None:
    """Copies of `messages`, the last of these roles with `text` at its end; None where there is none."""
    copies = [dict(message) for message in messages]
    found = [message for message in copies if message.get("role") in roles]
    if not found:
        return None
    found[-1]["content"] = append(found[-1].get("content"), text, part=part)
    return copies


def is_list_of(kind: type, value: object) -> bool:
    """Whether it is a list of at least one of these; a truth value is no number."""
    return isinstance(value, list) and bool(value) and all([type(item) is kind for item in value])  # noqa: C419


def positive(value: object) -> int:
    """A user's number; 1 where it is none."""
    return value if isinstance(value, int) and value > 0 else 1
