"""What a source says of its refusal, without what was confided to it."""

from __future__ import annotations

import json
from collections.abc import Iterable

QUOTED = 200
"""Characters of a source's own words in a message."""
SHORTEST = 4
"""A shorter secret cannot be masked: it is part of innocent words too, and masks between them would spell it."""


def said(text: str, secrets: Iterable[str]) -> str:
    """The words of an error object; pages of a proxy and the like are not quoted, nor is what holds a short secret."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    while isinstance(body, dict):
        body = next((body[name] for name in ("message", "error", "detail") if body.get(name)), "")
    words = " ".join(body.split()) if isinstance(body, str) else ""
    # The longest first: a user name may be part of the password.
    known = sorted({" ".join(secret.split()) for secret in secrets} - {""}, key=len, reverse=True)
    if any(len(secret) < SHORTEST and secret in words for secret in known):
        return ""
    for secret in known:
        words = words.replace(secret, "***")
    return words[:QUOTED]
