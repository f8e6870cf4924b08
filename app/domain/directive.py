"""Generation directives: their texts, where they may stand, and how a request draws its level."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from enum import StrEnum

from app.domain.errors import InvalidInput

PAPER_DIRECTIVES = ("", "Always answer briefly", "Always answer very briefly")
"""L0, L1 and L2 with the texts of Li et al., EMNLP 2024, section 3."""

L0 = 0


class Placement(StrEnum):
    """Where a directive stands. Both ends keep a shared prefix of prompts cached."""

    SYSTEM = "system"
    """End of the system message."""
    USER = "user"
    """End of the last user message."""


def parse_level(text: str, *, levels: int, param: str) -> int | None:
    """`L2` or `2` as a level, `auto` as None: the level is drawn from the directive mix.

    Raises:
        InvalidInput: not one of those.
    """
    name = text.strip().upper()
    if name == "AUTO":
        return None
    known = [f"L{level}" for level in range(levels)]
    if f"L{name.removeprefix('L')}" in known:
        return int(name.removeprefix("L"))
    raise InvalidInput(
        f"{text[:80]!r} is not a level: use auto or one of {', '.join(known)}.", param=param, code="invalid_level"
    )


def draw_level(probabilities: Sequence[float], *, request_key: str, mix_id: str) -> int:
    """The level of a request: the same for the same request and directive mix, on every worker and attempt."""
    digest = hashlib.blake2b(f"{mix_id}/{request_key}".encode(), digest_size=8).digest()
    position = int.from_bytes(digest) / 2**64 * sum(probabilities)
    for level, probability in enumerate(probabilities):
        position -= probability
        if position < 0:
            return level
    return max(level for level, probability in enumerate(probabilities) if probability > 0)


def fingerprint(identity: str, texts: Sequence[str], placement: Placement) -> str:
    """Of all that evidence of quality is about: the weights (`identity`), the directives and where they stand."""
    return hashlib.blake2b(json.dumps([identity, list(texts), placement]).encode(), digest_size=8).hexdigest()
