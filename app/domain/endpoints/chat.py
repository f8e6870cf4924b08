"""`/v1/chat/completions`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.domain.directive import Placement
from app.domain.endpoints.base import Endpoint, Message, Prompt, append_to_last, is_list_of, positive
from app.domain.errors import InvalidInput
from app.domain.text import text_of


class Chat(Endpoint):
    path = "/v1/chat/completions"
    prompt_name = "messages"

    def check(self, body: Mapping[str, Any]) -> None:
        if not is_list_of(dict, body.get("messages")):
            raise InvalidInput(
                "'body.messages' must be a list of at least one message, each an object with role and content.",
                param="body.messages",
                code="invalid_messages",
            )

    def messages(self, body: Mapping[str, Any]) -> Sequence[Message]:
        messages: Sequence[Message] = body["messages"]
        return messages

    def prompts(self, body: Mapping[str, Any]) -> Sequence[Prompt]:
        return [self.messages(body)]

    def takes_directive(self, body: Mapping[str, Any]) -> bool:
        return True

    def place(self, body: Mapping[str, Any], text: str, placement: Placement) -> dict[str, Any]:
        roles = ("system", "developer") if placement is Placement.SYSTEM else ("user",)
        placed = append_to_last(body["messages"], roles, text)
        if placed is None:
            added = {"role": roles[0], "content": text}
            placed = [added, *body["messages"]] if placement is Placement.SYSTEM else [*body["messages"], added]
        return {**body, "messages": placed}

    def answer(self, response: Mapping[str, Any]) -> str:
        choices = response.get("choices") or [{}]
        return text_of((choices[0].get("message") or {}).get("content"))

    def single(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return {**body, "n": 1}

    def sequences(self, body: Mapping[str, Any]) -> int:
        return positive(body.get("n"))
