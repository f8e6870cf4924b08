"""The order in which the requests of a shard go to the engine."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from app.domain.endpoints import Endpoint, Message
from app.domain.profile import Profile, of_floors
from app.domain.workload import floor_of

MOST_TOKENS = 2**31
"""More than any model's context."""

Key = TypeVar("Key")

SYSTEM_ROLES = ("system", "developer")

CHARACTERS_PER_TOKEN = 4
"""Of English text, by OpenAI's rule of thumb. Lengths are only compared, so other languages do no harm."""


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """What the place of a request in the order depends on."""

    endpoint: Endpoint
    body: Mapping[str, Any]
    """Without its directive: levels must not part what shares a system prompt."""
    workload: str
    """Or a stratum of one."""
    level: int
    """Drawn or pinned."""


def longest_first(prompts: Mapping[Key, Prompt], expected_tokens: Mapping[tuple[str, int], float]) -> list[Key]:
    """The keys in the order in which the engine should begin: the same for the same prompts in the same order.

    Requests with the same system prompt stand together, so that its cached prefix is still there for the next one. The
    longest stand first in each group, and the group with the longest request first of all: a long answer that began
    last would run alone at the end. `expected_tokens` are those of an answer per (workload or stratum, level), as
    `expected_tokens` has them.
    """
    size = {key: _prompt_tokens(prompt) for key, prompt in prompts.items()}
    rank = {key: (_answer_tokens(prompt, size[key], expected_tokens), size[key]) for key, prompt in prompts.items()}
    groups: dict[tuple[str, ...], list[Key]] = {}
    for key, prompt in prompts.items():
        groups.setdefault(system_prompt(prompt.endpoint.messages(prompt.body)), []).append(key)
    inside = [sorted(group, key=lambda key: rank[key], reverse=True) for group in groups.values()]
    return [key for group in sorted(inside, key=lambda group: rank[group[0]], reverse=True) for key in group]


def expected_tokens(profiles: Iterable[Profile]) -> Mapping[tuple[str, int], float]:
    """Mean tokens of an answer per (workload or stratum, level): a stratum's own, and a workload's over its strata."""
    entries = list(profiles)
    known = {**of_floors(entries), **{(entry.workload, entry.level): entry for entry in entries}}
    return {key: profile.completion_tokens for key, profile in known.items()}


def system_prompt(messages: Sequence[Message]) -> tuple[str, ...]:
    """Role and content of all leading system and developer messages, to compare; empty without any."""
    leading: list[str] = []
    for message in messages:
        if message.get("role") not in SYSTEM_ROLES:
            break
        content = message.get("content")
        # As JSON only what is no text: this is asked of every request that runs.
        leading += message["role"], f"={content}" if isinstance(content, str) else json.dumps(content, sort_keys=True)
    return tuple(leading)


def _answer_tokens(prompt: Prompt, prompt_tokens: float, expected: Mapping[tuple[str, int], float]) -> float:
    """By the profile, at most what the request allows; else what it allows; else as much as is asked."""
    allowed = prompt.endpoint.most_tokens(prompt.body)
    # A number in JSON may be longer than any float.
    limit = float(min(max(allowed, 0), MOST_TOKENS)) if isinstance(allowed, int | float) else None
    mean = expected.get((prompt.workload, prompt.level), expected.get((floor_of(prompt.workload), prompt.level)))
    if mean is None:
        return prompt_tokens if limit is None else limit
    return mean if limit is None else min(mean, limit)


def _prompt_tokens(prompt: Prompt) -> float:
    tokens = 0.0
    for read in prompt.endpoint.prompts(prompt.body):
        if isinstance(read, int):
            tokens += read
        else:
            texts = [read] if isinstance(read, str) else [text for one in read for text in _texts(one.get("content"))]
            tokens += sum(map(len, texts)) / CHARACTERS_PER_TOKEN
    return tokens


def _texts(content: object) -> Iterable[str]:
    parts = content if isinstance(content, list) else [content]
    texts = [part.get("text") if isinstance(part, Mapping) else part for part in parts]
    return [text for text in texts if isinstance(text, str)]
