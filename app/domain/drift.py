"""Has a level become worse than it was said to be? A sequential test on verdicts, valid however often one looks.

Scores s_1, s_2, ... of new verdicts (1 win, 1/2 tie, 0 loss) are held against e_1, e_2, ..., what each would be on
average by what the mix in force claims of the level. While they are not below it on average, each bet

    1 + b_t (e_t - s_t),   0 < b_t < 1 / (1 - e_t)

multiplies what is staked by at most 1 on average. The sum over all possible beginnings of a drop,

    M_t = (M_t-1 + 1) (1 + b_t (e_t - s_t)),

then reaches `1 / RATE` less often than once in 1 / RATE verdicts: the Shiryaev-Roberts form of an e-detector (Shin,
Ramdas and Rinaldo, *E-detectors*, NEJSDS 2024, theorem 2.4). Nothing is assumed of how scores are spread.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

RATE = 1 / 10_000
"""Of false alarms per verdict, at the most: one in ten thousand."""

DROP = 0.2
"""The drop below what is expected that the bets are made for; a larger one is found sooner, a smaller one later. In
simulations with expectations of 0.3 to 0.95 and up to 40 % ties, one of 30 points is found after 42 verdicts at most
(median)."""


@dataclass(frozen=True, kw_only=True)
class Drop:
    """Verdicts, by place, from which a level is worse than expected."""

    first: int
    """Where it most likely began."""
    found: int
    """Where it was certain enough."""
    mean: float
    """Of the scores in between."""
    expected: float
    """Of them, on average."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """Of one verdict."""

    score: float
    """1 for a win, 1/2 for a tie, 0 for a loss."""
    expected: float
    """Its mean by what is claimed, 0 to 1."""


def drops(scores: Sequence[Score]) -> Iterator[Drop]:
    """The drops below what is expected in `scores`, oldest first; after each the test begins anew."""
    total, best, first = 0.0, 0.0, 0
    for place, each in enumerate(scores):
        factor = 1 + _bet(each.expected) * (each.expected - each.score)
        total = (total + 1) * factor
        # Of all beginnings the likeliest, as in CUSUM: it starts anew when the scores so far speak against a drop.
        if best <= 1:
            best, first = 1.0, place
        best *= factor
        if total >= 1 / RATE:
            drop = _drop(scores, first, place)
            # Ties held against one half, or wins against 1, add up without being below anything.
            if drop.mean < drop.expected:
                yield drop
            total, best = 0.0, 0.0


def _drop(scores: Sequence[Score], first: int, found: int) -> Drop:
    seen = scores[first : found + 1]
    return Drop(
        first=first,
        found=found,
        mean=fmean(each.score for each in seen),
        expected=fmean(each.expected for each in seen),
    )


def last_drop(scores: Sequence[Score]) -> Drop | None:
    """The last of the drops, from where it began: one that goes on is found again and again."""
    found: Drop | None = None
    for drop in drops(scores):
        goes_on = found is not None and drop.first == found.found + 1
        found = _drop(scores, found.first, drop.found) if found is not None and goes_on else drop
    return found


def _bet(expected: float) -> float:
    """The best one if scores were 0 or 1 and fell by DROP, d / (m (1 - m)), and never all of what is at stake."""
    return min(DROP / max(expected * (1 - expected), 0.05), 0.9 / max(1 - expected, 0.05))
