"""Rows of a comparison in figures that can be read: means, spreads and worst cases, always side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from app.simulation.comparison import Row

LOWER = 0.1
"""The lower 90 % bound over runs is their 10th percentile."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Of one figure over the runs of one policy."""

    mean: float
    sd: float
    """Between seeds, each seed averaged over its zone-months."""
    lower: float
    """The figure that nine runs in ten reach."""

    def __str__(self) -> str:
        return f"{self.mean:.1%} ± {self.sd:.1%}"


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One policy under one floor. Saving, preference and worst workload's preference belong on one line."""

    policy: str
    workloads: str
    floor_mode: str
    runs: int
    saving: Spread
    preference: Spread | None
    worst: Spread | None
    """The worst workload of each run, then the mean over runs."""
    worst_workload: str
    """The one that was the worst in most runs, with its share of them."""
    overhead: float
    rounds: float
    clean_rounds: Spread | None
    """Share of a run's rounds in the cleanest third of its hours; None where no round ran."""
    grams_per_request: float


def summarize(rows: Sequence[Row]) -> list[Summary]:
    """One summary per policy, in the order of the rows."""
    return [_summary([row for row in rows if row["policy"] == policy]) for policy in policies(rows)]


def policies(rows: Iterable[Row]) -> list[str]:
    return list(dict.fromkeys(row["policy"] for row in rows))


def _summary(rows: Sequence[Row]) -> Summary:
    savings = spread(rows, "saving")
    assert savings is not None
    worst = Counter(row["worst_workload"] for row in rows if row["worst_workload"]).most_common(1)
    return Summary(
        policy=rows[0]["policy"],
        workloads=rows[0]["workloads"],
        floor_mode=rows[0]["floor_mode"],
        runs=len(rows),
        saving=savings,
        preference=spread(rows, "preference"),
        worst=spread(rows, "worst_preference"),
        worst_workload=f"{worst[0][0]} ({worst[0][1] / len(rows):.0%})" if worst else "",
        overhead=float(np.mean([row["evaluation_overhead"] for row in rows])),
        rounds=float(np.mean([row["rounds"] for row in rows])),
        clean_rounds=spread(rows, "clean_rounds"),
        grams_per_request=float(np.mean([row["grams_per_request"] for row in rows])),
    )


def spread(rows: Sequence[Row], name: str) -> Spread | None:
    """None where the figure is not available."""
    known = [row for row in rows if row[name] is not None]
    if not known:
        return None
    values = [row[name] for row in known]
    seeds = {row["seed"] for row in known}
    by_seed = [np.mean([row[name] for row in known if row["seed"] == seed]) for seed in seeds]
    return Spread(
        mean=float(np.mean(by_seed)),
        sd=float(np.std(by_seed, ddof=1)) if len(by_seed) > 1 else 0.0,
        lower=float(np.quantile(values, LOWER)),
    )


@dataclass(frozen=True, kw_only=True)
class Reproduced:
    """One policy in one zone-month beside what the authors published of it."""

    zone: str
    month: str
    policy: str
    saving: Spread
    preference: Spread | None
    published_saving: float
    published_preference: float
    within: str
    """Whether the published figures lie among ours: they are one draw, ours are as many as there are seeds."""


def reproduced(rows: Sequence[Row]) -> list[Reproduced]:
    """One line per zone-month and policy, in the order of the rows."""
    found = []
    for zone, month, policy in dict.fromkeys((row["zone"], row["month"], row["policy"]) for row in rows):
        own = [row for row in rows if (row["zone"], row["month"], row["policy"]) == (zone, month, policy)]
        saving = spread(own, "saving")
        assert saving is not None
        published = own[0]["published_saving"]
        drawn = [row["saving"] for row in own]
        among = min(drawn) - 0.005 <= published <= max(drawn) + 0.005
        found.append(
            Reproduced(
                zone=zone,
                month=month,
                policy=policy,
                saving=saving,
                preference=spread(own, "preference"),
                published_saving=published,
                published_preference=own[0]["published_preference"],
                within=f"{min(drawn):.1%} to {max(drawn):.1%}{'' if among else ' (outside)'}",
            )
        )
    return found
