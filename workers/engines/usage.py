"""What an OpenAI server's answer says it used: `usage`, in the names of `/v1/responses` or of all other endpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Tokens, 0 where the server does not say."""

    prompt: int = 0
    cached: int = 0
    """Of the prompt, from a prefix cache: nothing was computed for them."""
    completion: int = 0


def usage_of(body: Mapping[str, object]) -> Usage:
    counts = _part(body, "usage")
    details = _part(counts, "prompt_tokens_details") or _part(counts, "input_tokens_details")
    return Usage(
        prompt=_count(counts.get("prompt_tokens", counts.get("input_tokens"))),
        cached=_count(details.get("cached_tokens")),
        completion=_count(counts.get("completion_tokens", counts.get("output_tokens"))),
    )


def _part(value: Mapping[str, object], name: str) -> Mapping[str, object]:
    part = value.get(name)
    return part if isinstance(part, Mapping) else {}


def _count(value: object) -> int:
    """A server's own count of tokens, if it is one that can be."""
    return value if isinstance(value, int) and 0 <= value < 2**31 else 0
