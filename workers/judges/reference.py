"""The judge that holds answers against a reference answer."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from app.domain.judging import REFERENCE, Comparison, Kind, Opinion
from app.domain.reference import better


class ReferenceJudge:
    """Asks nobody: see `app.domain.reference`."""

    name = REFERENCE
    model = ""
    kind = Kind.CORRECTNESS
    heeds_order = False

    def judge(self, comparisons: Sequence[Comparison]) -> Generator[Sequence[Opinion], None, None]:
        for comparison in comparisons:
            yield [_opinion(comparison)]


def _opinion(comparison: Comparison) -> Opinion:
    question = comparison.question
    if question.reference is None:
        return Opinion(key=comparison.key, fault="there is no reference answer")
    return Opinion(key=comparison.key, preferred=better(question.prompt, question.reference, comparison.answers))
