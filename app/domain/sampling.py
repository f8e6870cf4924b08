"""How many requests of each workload a round of evaluation asks about.

The error of what is claimed of workload w is about c / sqrt(v_w + n_w) after n_w further verdicts, and costs as often
as the workload is asked for, s_w. The least of sum_w s_w / sqrt(v_w + n_w) under sum_w n_w = N has v_w + n_w in
proportion to s_w^(2/3), as far as that asks nobody to give verdicts back: each verdict goes where it buys the most, to
thin evidence and to much traffic.
"""

from __future__ import annotations

from collections.abc import Mapping

TRAFFIC_POWER = 2 / 3

MOST_PER_ROUND = 3000
"""Prompts: what a budget of one percent pays for in a day of 10 000 requests an hour. More would only hold up the next
round, which knows better where evidence is thin."""

PAPER_PER_ROUND = 1000
"""Prompts of each round of Li et al., EMNLP 2024."""


def allocate(
    number: int, *, shares: Mapping[str, float], verdicts: Mapping[str, float], available: Mapping[str, int]
) -> Mapping[str, int]:
    """How many prompts to take of each workload with traffic: `number` together, or all that are available.

    `shares` need not add up to 1; `verdicts` are those that count already, 0 where a workload is absent.
    """
    open_ = {name: share**TRAFFIC_POWER for name, share in shares.items() if share > 0 and available.get(name, 0) > 0}
    taken: dict[str, int] = {}
    while open_ and number > 0:
        wanted = _shared_out(number, open_, verdicts)
        full = [name for name, count in wanted.items() if count >= available[name]]
        if not full:
            return taken | wanted
        # The others share what a workload cannot give.
        for name in full:
            taken[name] = available[name]
            number -= available[name]
            del open_[name]
    return taken


def _shared_out(number: int, weights: Mapping[str, float], verdicts: Mapping[str, float]) -> dict[str, int]:
    """`number` as whole parts that fill vessels of width `weights`, which hold `verdicts`, to one level."""
    level = _water_level(number, weights, verdicts)
    wanted = {name: max(level * weight - verdicts.get(name, 0.0), 0.0) for name, weight in weights.items()}
    counts = {name: int(part) for name, part in wanted.items()}
    by_remainder = sorted(wanted, key=lambda name: (counts[name] - wanted[name], name))
    for name in by_remainder[: number - sum(counts.values())]:
        counts[name] += 1
    return {name: count for name, count in counts.items() if count}


def _water_level(number: int, weights: Mapping[str, float], verdicts: Mapping[str, float]) -> float:
    by_height = sorted(weights, key=lambda name: verdicts.get(name, 0.0) / weights[name])
    width = held = level = 0.0
    for place, name in enumerate(by_height):
        width += weights[name]
        held += verdicts.get(name, 0.0)
        level = (number + held) / width
        following = by_height[place + 1 : place + 2]
        if all(level <= verdicts.get(other, 0.0) / weights[other] for other in following):
            break
    return level
