"""`/v1/embeddings`: vectors in place of answers, so that there is nothing to direct, to judge or to class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.domain.directive import Placement
from app.domain.endpoints.base import Endpoint, Message, Prompt
from app.domain.endpoints.texts import check_texts, count_texts, texts_in, token_prompts
from app.domain.errors import InvalidInput

FORMATS = ("float", "base64")
"""OpenAI's; others are no JSON."""


class Embeddings(Endpoint):
    path = "/v1/embeddings"
    prompt_name = "input"
    workload = "embeddings"
    generates = False

    def check(self, body: Mapping[str, Any]) -> None:
        check_texts(body, "input")
        if body.get("encoding_format", "float") not in FORMATS:
            raise InvalidInput(
                f"'body.encoding_format' must be one of {', '.join(FORMATS)}.",
                param="body.encoding_format",
                code="invalid_encoding_format",
            )

    def messages(self, body: Mapping[str, Any]) -> Sequence[Message]:
        return [{"role": "user", "content": text} for text in texts_in(body["input"])]

    def prompts(self, body: Mapping[str, Any]) -> Sequence[Prompt]:
        return token_prompts(body["input"])

    def takes_directive(self, body: Mapping[str, Any]) -> bool:
        return False

    def place(self, body: Mapping[str, Any], text: str, placement: Placement) -> dict[str, Any]:
        raise ValueError("Embeddings have no directive.")

    def answer(self, response: Mapping[str, Any]) -> str:
        return ""

    def single(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return dict(body)

    def sequences(self, body: Mapping[str, Any]) -> int:
        return count_texts(body.get("input"))

    def most_tokens(self, body: Mapping[str, Any]) -> object:
        return 0
