"""`/v1/completions`: text that goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.domain.directive import Placement
from app.domain.endpoints.base import Endpoint, Message, Prompt, append, positive
from app.domain.endpoints.texts import check_texts, count_texts, texts_in, token_prompts
from app.domain.text import text_of


class Completions(Endpoint):
    path = "/v1/completions"
    prompt_name = "prompt"
    workload = "completions"

    def check(self, body: Mapping[str, Any]) -> None:
        check_texts(body, "prompt")

    def messages(self, body: Mapping[str, Any]) -> Sequence[Message]:
        return [{"role": "user", "content": text} for text in texts_in(body["prompt"])]

    def prompts(self, body: Mapping[str, Any]) -> Sequence[Prompt]:
        return token_prompts(body["prompt"])

    def takes_directive(self, body: Mapping[str, Any]) -> bool:
        """Only at the end of one text that the answer goes on from: neither where that is repeated to the user, nor
        where something is to be filled in."""
        return isinstance(body["prompt"], str) and not body.get("echo") and not body.get("suffix")

    def place(self, body: Mapping[str, Any], text: str, placement: Placement) -> dict[str, Any]:
        """There are no roles, so that the placement says nothing here."""
        return {**body, "prompt": append(body["prompt"], text)}

    def answer(self, response: Mapping[str, Any]) -> str:
        choices = response.get("choices") or [{}]
        return text_of(choices[0].get("text"))

    def single(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return {**body, "n": 1, "best_of": 1} if "best_of" in body else {**body, "n": 1}

    def sequences(self, body: Mapping[str, Any]) -> int:
        each = max(positive(body.get("n")), positive(body.get("best_of")))
        return each * count_texts(body.get("prompt"))
