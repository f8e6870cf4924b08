"""What goes into an inference engine and what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

REQUEST_TIMEOUT = 408
TIMED_OUT = "request_timeout"
"""Status and code of a request that ran longer than it may."""


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
    cached_tokens: int = 0
    """Of the prompt, from a prefix cache: nothing was computed for them."""

    @property
    def succeeded(self) -> bool:
        return self.status_code == 200

    @property
    def unanswered(self) -> Mapping[str, Any] | None:
        """`code` and `message` of the error of a request that was given up without an answer, else None."""
        error = self.body.get("error")
        if self.status_code != REQUEST_TIMEOUT or not isinstance(error, Mapping) or error.get("code") != TIMED_OUT:
            return None
        return {"code": TIMED_OUT, "message": error.get("message")}


def error_body(
    message: str, *, kind: str = "invalid_request_error", param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """The error object of OpenAI's API."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
