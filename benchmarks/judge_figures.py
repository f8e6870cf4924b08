"""Figures of how far judges agree with GPT-4, with their intervals, and the tables that show them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Z_95 = 1.96
OVERALL = "overall"


@dataclass(frozen=True, kw_only=True)
class Score:
    """How far a judge agreed on one prompt: sums over what was compared there."""

    workload: str
    compared: int
    agreed: float
    chance: float
    majority: float
    """What always naming the workload's most frequent preference agrees by."""
    named: int
    """Comparisons in which the judge named one."""


def ratio(scores: Sequence[Score], value: Callable[[Score], float]) -> tuple[float, float]:
    """Mean over what was compared, and half of its interval; what is of one prompt is not independent."""
    compared = sum(score.compared for score in scores)
    mean = sum(value(score) for score in scores) / compared
    spread = sum((value(score) - mean * score.compared) ** 2 for score in scores)
    return mean, Z_95 * math.sqrt(spread) / compared


def figures(scores: Sequence[Score]) -> Mapping[str, Mapping[str, Any]]:
    """Per workload and overall."""
    found = {}
    for name in [*sorted({score.workload for score in scores}), OVERALL]:
        own = [score for score in scores if name in (OVERALL, score.workload)]
        compared = sum(score.compared for score in own)
        found[name] = {
            "compared": compared,
            "agreement": ratio(own, lambda score: score.agreed),
            "chance": ratio(own, lambda score: score.chance)[0],
            "majority": ratio(own, lambda score: score.majority)[0],
            "over_majority": ratio(own, lambda score: score.agreed - score.majority),
            "named": sum(score.named for score in own) / compared,
        }
    return found


def percent(value: tuple[float, float], sign: str = "") -> str:
    return f"{100 * value[0]:{sign}.1f} ± {100 * value[1]:.1f}"


def show(judge: str, form: str, found: Mapping[str, Mapping[str, Any]]) -> None:
    for name, row in found.items():
        print(
            f"| {judge} | {form} | {name} | {row['compared']} | {row['named']:.0%} | {percent(row['agreement'])} "
            f"| {100 * row['chance']:.1f} | {100 * row['majority']:.1f} | {percent(row['over_majority'], '+')} |"
        )


def show_bias(rows: Mapping[str, Mapping[str, Any]]) -> None:
    print("\n| judge | position bias | order decides | length bias | longer preferred | first, second, third of all |")
    print("|---|---|---|---|---|---|")
    for name, row in rows.items():
        bias, places = row["bias"], row["asked_all"]["places"]
        if not bias:
            continue
        shown = [
            "-" if bias["position"] is None else f"{bias['position']:+.2f}",
            "-" if bias["position"] is None else f"{bias['swayed_by_order']:.0%}",
            f"{bias['length']:+.2f} ± {bias['length_sd'] * Z_95:.2f}",
            "-" if bias["longer_preferred"] is None else f"{bias['longer_preferred']:.0%}",
            ", ".join(f"{share:.0%}" for share in places.values()),
        ]
        print(f"| {name} | " + " | ".join(shown) + " |")


def share(number: int, of: int) -> tuple[float, float]:
    """With half of its interval."""
    part = number / of if of else math.nan
    return part, Z_95 * math.sqrt(part * (1 - part) / of) if of else math.nan


def show_gold(found: Mapping[str, Any]) -> None:
    print("\n| workload | prompts | can be checked | right at L0, L1, L2, % | levels differ, % | one level right | "
          "GPT-4 prefers it, % |")  # fmt: skip
    print("|---|---|---|---|---|---|---|")
    for workload, row in found.items():
        accuracy = ", ".join(percent(value) for value in row["accuracy"])
        print(
            f"| {workload} | {row['prompts']} | {row['checked']} | {accuracy} | {percent(row['differ'])} "
            f"| {row['one_right']} | {percent(row['gpt4_agrees'])} |"
        )
