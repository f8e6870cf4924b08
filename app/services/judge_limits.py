"""What a round's judge may be asked, and use: requests, tokens and money.

Workers look before every stint, so that each may exceed a limit by what it has in hand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from app.settings import Settings
from app.store.rounds import Round


def room(settings: Settings, found: Round) -> float:
    """Samples for which the limits of a round's judge are still good, at what it was asked and has used so far."""
    return min(limit.room for limit in _limits(settings, found))


def overspent(settings: Settings, found: Round) -> str:
    """Which of its limits the judge of a round has reached; empty while another sample is within all of them."""
    return next((limit.reached for limit in _limits(settings, found) if limit.room < 1), "")


@dataclass(frozen=True, kw_only=True)
class Limit:
    name: str
    used: float
    most: float
    each: float
    """What a sample takes; 0 while that is not known."""

    @property
    def room(self) -> float:
        """Samples, without end while what one takes is not known."""
        left = self.most - self.used
        return left / self.each if self.each else math.inf if left > 0 else 0.0

    @property
    def reached(self) -> str:
        return f"its judge has used {self.used:g} of {self.name}={self.most:g}, and another prompt would exceed it"


def _limits(settings: Settings, found: Round) -> Sequence[Limit]:
    requests = 2 * (settings.levels - 1)  # in both orders
    per_sample = requests / found.judge_requests if found.judge_requests else 0.0
    tokens = found.judge_prompt_tokens + found.judge_completion_tokens
    cost = (
        found.judge_prompt_tokens * settings.judge_price_in + found.judge_completion_tokens * settings.judge_price_out
    ) / 1e6
    used: list[tuple[str, float, float]] = [("SPROUT_JUDGE_MAX_TOKENS", tokens, settings.judge_max_tokens)]
    if settings.judge_max_cost is not None:
        used.append(("SPROUT_JUDGE_MAX_COST", cost, settings.judge_max_cost))
    return [
        Limit(
            name="SPROUT_JUDGE_MAX_REQUESTS",
            used=found.judge_requests,
            most=settings.judge_max_requests,
            each=requests,
        ),
        *(Limit(name=name, used=spent, most=most, each=spent * per_sample) for name, spent, most in used),
    ]
