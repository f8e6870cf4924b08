"""What goes into an inference engine and what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class EngineRequest:
    """One request as the engine sees it: the directive, if any, is already part of `body`."""

    key: str
    """Unique among everything the engine process has in flight."""
    endpoint: str
    """OpenAI path, such as `/v1/chat/completions`."""
    body: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Completion:
    """What a synchronous OpenAI server would have answered to one request.

    A refusal (bad parameter, time-out) is a completion too, with its HTTP status and an OpenAI error body:
    it belongs to that line alone and never ends the shard.
    """

    key: str
    status_code: int
    body: Mapping[str, Any]
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def succeeded(self) -> bool:
        return self.status_code == 200


def error_body(
    message: str, *, kind: str = "invalid_request_error", param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """The error object of OpenAI's API."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
