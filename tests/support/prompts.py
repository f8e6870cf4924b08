"""Prompts of clearly different kinds, with the energy of an answer, from a seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

TOPICS = ("bridge", "river", "bee", "tram", "bell", "lamp", "ferry", "heron", "pump", "clock", "wheel", "moss", "kite")
KINDS = {
    "sum": "A farmer has {a} {x}s and buys {b} more. He then sells {c} of them. How many {x}s are left?",
    "choice": "Which is true of a {x}?\nA. a {p}\nB. a {q}\nC. a {r}\nD. no {s}\nAnswer with the letter.",
    "letter": "Write a friendly letter to my landlord about the {x} near the {p}, and thank him for the {q}.",
    "code": "def {p}(x):\n    return [{x} for {x} in x if {x} > {a}]\n\nFix the bug in this Python function.",
}
LONG = " Explain every step at great length."
"""What doubles the energy of an answer."""


@dataclass(frozen=True, kw_only=True)
class Example:
    kind: str
    prompt: str
    long: bool
    energy_j: float


def examples(number: int, *, seed: int = 0, kinds: Sequence[str] = tuple(KINDS)) -> list[Example]:
    """The kinds in turn; a third of each asks for a long answer."""
    rng = random.Random(seed)
    return [_example(rng, kinds[index % len(kinds)]) for index in range(number)]


def _example(rng: random.Random, kind: str) -> Example:
    numbers = {name: rng.randint(2, 900) for name in "abc"}
    topics = dict(zip("xpqrs", rng.sample(TOPICS, 5), strict=True))
    long = rng.random() < 1 / 3
    prompt = KINDS[kind].format(**numbers, **topics) + (LONG if long else "")
    energy_j = (100.0 + 50 * list(KINDS).index(kind)) * (2 if long else 1) * rng.uniform(0.9, 1.1)
    return Example(kind=kind, prompt=prompt, long=long, energy_j=energy_j)
