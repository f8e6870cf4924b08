"""What happens to a shard whose worker dies, played through with `after_loss` as the services apply it."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import pytest

from app.domain.shard import LOSSES_BEFORE_HALVING, LOSSES_BEFORE_POISON, AfterLoss, after_loss


@dataclass(frozen=True)
class Outcome:
    answered: list[int]
    given_up: list[int]
    kills: int


def play(lines: int, poison: int, *, answered_before_death: int) -> Outcome:
    """Run one shard of `lines`; line `poison` kills its worker after that many others were answered."""
    waiting = deque([(tuple(range(lines)), 0)])
    answered: list[int] = []
    given_up: list[int] = []
    kills = 0
    while waiting:
        unanswered, losses = waiting.popleft()
        if poison not in unanswered:
            answered += unanswered
            continue
        others = [line for line in unanswered if line != poison]
        answered += others[:answered_before_death]
        unanswered = tuple(line for line in unanswered if line not in others[:answered_before_death])
        kills, losses = kills + 1, losses + 1
        match after_loss(losses=losses, unanswered=len(unanswered)):
            case AfterLoss.RETRY:
                waiting.append((unanswered, losses))
            case AfterLoss.HALVE:
                middle = len(unanswered) // 2
                waiting += [(unanswered[:middle], losses), (unanswered[middle:], losses)]
            case AfterLoss.POISON:
                given_up += unanswered
    return Outcome(answered=sorted(answered), given_up=given_up, kills=kills)


@pytest.mark.parametrize("answered_before_death", [0, 1, 1000])
def test_exactly_the_poisonous_line_is_given_up_and_few_workers_die(answered_before_death: int) -> None:
    for lines in range(1, 201):
        bound = max(LOSSES_BEFORE_POISON, LOSSES_BEFORE_HALVING + math.ceil(math.log2(lines)))
        for poison in {0, lines // 3, lines // 2, lines - 1, *range(0, lines, 7)}:
            outcome = play(lines, poison, answered_before_death=answered_before_death)
            assert outcome.given_up == [poison]
            assert outcome.answered == [line for line in range(lines) if line != poison]
            assert outcome.kills <= bound


def test_kills_of_a_usual_shard() -> None:
    assert play(64, 17, answered_before_death=0).kills == 8
    assert play(1, 0, answered_before_death=0).kills == 3


def test_one_loss_alone_is_nobodys_fault() -> None:
    assert after_loss(losses=1, unanswered=64) is AfterLoss.RETRY
    assert after_loss(losses=1, unanswered=1) is AfterLoss.RETRY


@pytest.mark.parametrize("losses", range(2, 20))
def test_a_line_among_others_is_never_given_up(losses: int) -> None:
    assert after_loss(losses=losses, unanswered=2) is AfterLoss.HALVE


def test_a_line_alone_gets_three_attempts() -> None:
    assert [after_loss(losses=losses, unanswered=1) for losses in (1, 2, 3, 4)] == [
        AfterLoss.RETRY,
        AfterLoss.RETRY,
        AfterLoss.POISON,
        AfterLoss.POISON,
    ]
