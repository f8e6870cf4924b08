"""Which requests have one answer, and how they are told apart."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from app.domain.completion import EngineRequest

SAYS_NOTHING = frozenset({"metadata", "user"})
"""Parameters that no model sees."""


def is_deterministic(body: Mapping[str, Any]) -> bool:
    """Whether the same body is answered the same: greedily, or from a stated seed, and once.

    As far as an engine keeps to that: sums in another order, in a fuller batch, may tip a token.
    """
    n, temperature, seed = body.get("n"), body.get("temperature"), body.get("seed")
    is_greedy = (_is_number(temperature) and temperature == 0) or (_is_number(body.get("top_k")) and body["top_k"] == 1)
    is_seeded = isinstance(seed, int) and not isinstance(seed, bool)
    return (n is None or (_is_number(n) and n == 1)) and (is_greedy or is_seeded)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def cache_key(request: EngineRequest, *, tenant: str, model: str, fingerprint: str, level: int) -> bytes | None:
    """A hash of all that the answer depends on; None where it is another one each time.

    Args:
        request: with the directive of its level in place.
        fingerprint: of the weights behind the model's name, and of the directives.
    """
    if not is_deterministic(request.body):
        return None
    body = {name: value for name, value in request.body.items() if name not in SAYS_NOTHING}
    said = json.dumps([tenant, model, fingerprint, request.endpoint, level, body], sort_keys=True)
    return hashlib.blake2b(said.encode(), digest_size=32).digest()
