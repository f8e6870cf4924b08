"""A judge whose mind is a function."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

from app.domain.errors import InvalidInput, JudgeUnavailable
from app.domain.judging import Comparison, Kind, Opinion

Mind = Callable[[Comparison], int | None]
"""Raises InvalidInput where it fails."""


def takes_the_longer(comparison: Comparison) -> int:
    lengths = [len(answer) for answer in comparison.answers]
    return lengths.index(max(lengths))


def takes_the_first(_: Comparison) -> int:
    return 0


class ScriptedJudge:
    """The Judge port. While `away` it cannot be asked; what it was asked is in `asked`."""

    name = "scripted"
    model = "mind"
    kind = Kind.PREFERENCE
    heeds_order = True

    def __init__(self, mind: Mind = takes_the_longer) -> None:
        self.mind = mind
        self.away = False
        self.asked: list[Comparison] = []

    def judge(self, comparisons: Sequence[Comparison]) -> Generator[Sequence[Opinion], None, None]:
        for comparison in comparisons:
            if self.away:
                raise JudgeUnavailable("The judge cannot be asked: it is away.")
            self.asked.append(comparison)
            try:
                preferred = self.mind(comparison)
            except InvalidInput as exc:
                yield [Opinion(key=comparison.key, fault=exc.message, reply="...", prompt_tokens=10)]
            else:
                yield [Opinion(key=comparison.key, preferred=preferred, reply=f"{preferred}", prompt_tokens=10)]
