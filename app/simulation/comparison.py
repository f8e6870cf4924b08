"""Policies compared over zone-months and random halves: the rows that reports and JSON files are made of."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from app.domain.arrays import Floats
from app.domain.errors import InvalidInput
from app.domain.optimizer import QUALITY_WORTH, FloorMode, FloorRule
from app.domain.policy import CONFIDENCE, Base, Co2Opt, DirectivePolicy, Policy, SproutStatic, sprout
from app.domain.sampling import PAPER_PER_ROUND
from app.simulation.dataset import Dataset, Recording, ZoneMonth, load
from app.simulation.oracle import replay_oracle
from app.simulation.outcome import Outcome, clean_share
from app.simulation.partition import Partition, Workloads, cells, partition
from app.simulation.published import PUBLISHED_NAMES, PublishedMonth
from app.simulation.replay import Conditions, Month, replay
from app.simulation.small_model import replay_small_model

POLICIES = ("BASE", "CO2_OPT", "MODEL_OPT", "SPROUT_STA", "SPROUT", "ORACLE", "OURS")

Row = Mapping[str, Any]
Replayed = Callable[["Comparison", Sequence[ZoneMonth], int, Recording, Recording, Partition], Iterable[Row]]
"""What one seed finds: of the requests that are learned from, those that are scored, and the classes of both."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What is asked of a replay."""

    dataset: Path
    fit: Path | None = None
    """Another dataset to learn from; without it, a random half of the same one."""
    policies: tuple[str, ...] = POLICIES
    workloads: Workloads = Workloads.DECLARED
    strata: bool = True
    rule: FloorRule = field(default_factory=lambda: FloorRule(quality_worth=QUALITY_WORTH))
    confidence: float = CONFIDENCE
    conditions: Conditions = field(default_factory=Conditions)
    zone: str | None = None
    month: str | None = None
    as_published: bool = False
    seeds: int = 5


def run(comparison: Comparison, processes: int | None = None, replayed: Replayed | None = None) -> list[Row]:
    """Rows by zone-month, policy and seed, in that order: one of each, or as `replayed` gives them.

    Raises:
        ConfigurationError: a dataset is missing.
        InvalidInput: a name or figure cannot be used.
    """
    if unknown := set(comparison.policies) - set(POLICIES):
        raise InvalidInput(f"There is no policy {', '.join(sorted(unknown))}: choose from {', '.join(POLICIES)}.")
    months = dataset_of(comparison.dataset).months_of(zone=comparison.zone, month=comparison.month)
    if comparison.as_published:
        _check_published(comparison.policies, months)
    seeds = range(comparison.seeds)
    workers = min(processes or os.cpu_count() or 1, comparison.seeds)
    rows_of_seed = partial(_rows_of_seed, comparison, months, replayed or _replayed_rows)
    if workers == 1:
        found = [rows_of_seed(seed) for seed in seeds]
    else:
        with ProcessPoolExecutor(workers) as pool:
            found = list(pool.map(rows_of_seed, seeds))
    order = {(month.zone, month.month): index for index, month in enumerate(months)}
    rows = [row for rows in found for row in rows]
    return sorted(
        rows,
        key=lambda row: (order[row["zone"], row["month"]], POLICIES.index(row["policy"]), row["seed"]),
    )


def _check_published(policies: Sequence[str], months: Sequence[ZoneMonth]) -> None:
    names = [name for name in policies if name in PUBLISHED_NAMES]
    if not names:
        raise InvalidInput(f"Nothing was published of {', '.join(policies)}: choose from {', '.join(PUBLISHED_NAMES)}.")
    for month in months:
        if missing := [name for name in names if PUBLISHED_NAMES[name] not in month.published]:
            raise InvalidInput(f"Nothing is published of {', '.join(missing)} in {month.zone}, {month.month}.")


@cache
def dataset_of(folder: Path) -> Dataset:
    return load(folder)


def _rows_of_seed(comparison: Comparison, months: Sequence[ZoneMonth], replayed: Replayed, seed: int) -> list[Row]:
    """All zone-months with the same halves, so that classes are discovered once."""
    if comparison.as_published:
        return list(_published_rows(comparison, months, seed))
    fit, score = halves(comparison, seed)
    parts = partition(fit, score, comparison.workloads, strata=comparison.strata)
    return list(replayed(comparison, months, seed, fit, score, parts))


def halves(comparison: Comparison, seed: int) -> tuple[Recording, Recording]:
    """The requests to learn from and those to score: disjoint halves, or another dataset and all of this one.

    Raises:
        InvalidInput: the two datasets know different workloads or levels.
    """
    recording = dataset_of(comparison.dataset).recording
    if comparison.fit is None:
        order = np.random.default_rng(seed).permutation(len(recording))
        middle = len(recording) // 2
        return recording.take(np.sort(order[:middle])), recording.take(np.sort(order[middle:]))
    other = dataset_of(comparison.fit).recording
    if (other.workloads, other.levels) != (recording.workloads, recording.levels):
        raise InvalidInput(
            f"{comparison.fit} has the workloads {', '.join(other.workloads)} at {other.levels} levels, "
            f"{comparison.dataset} has {', '.join(recording.workloads)} at {recording.levels}: they must agree."
        )
    return other, recording


def _replayed_rows(
    comparison: Comparison,
    months: Sequence[ZoneMonth],
    seed: int,
    fit: Recording,
    score: Recording,
    parts: Partition,
) -> Iterator[Row]:
    dataset = dataset_of(comparison.dataset)
    whole = partition(fit, score, Workloads.NONE, strata=False)
    for month in months:
        recorded = _recorded(dataset, month)
        for name in comparison.policies:
            rng = np.random.default_rng([seed, month.start_hour])
            conditions = conditions_of(name, comparison.conditions)
            if name == "ORACLE":
                outcome = replay_oracle(
                    recorded,
                    score,
                    xi=comparison.rule.xi,
                    hardware=conditions.hardware,
                    requests_per_hour=conditions.requests_per_hour,
                )
            elif name == "MODEL_OPT":
                outcome = replay_small_model(recorded, dataset.means, score, comparison.rule.xi, conditions)
            else:
                classes = parts if name == "OURS" else whole
                outcome = replay(policy_of(name, comparison), recorded, fit, score, classes, conditions, rng)
            yield row_of(comparison, month, name, seed, score, outcome)


@dataclass(frozen=True, kw_only=True)
class Example:
    """OURS in the first zone-month of a comparison, under its first seed, hour by hour."""

    month: ZoneMonth
    intensity: Floats
    class_traffic: Floats
    """Hours x C: share of each class in the traffic."""
    outcome: Outcome


def example(comparison: Comparison) -> Example:
    """One run to look at."""
    dataset = dataset_of(comparison.dataset)
    month = dataset.months_of(zone=comparison.zone, month=comparison.month)[0]
    fit, score = halves(comparison, seed=0)
    parts = partition(fit, score, comparison.workloads, strata=comparison.strata)
    recorded = _recorded(dataset, month)
    rng = np.random.default_rng([0, month.start_hour])
    outcome = replay(policy_of("OURS", comparison), recorded, fit, score, parts, comparison.conditions, rng)
    return Example(
        month=month,
        intensity=recorded.intensity[month.start_hour :],
        class_traffic=recorded.traffic @ cells(score, parts.score, len(parts.classes.names)),
        outcome=outcome,
    )


def _recorded(dataset: Dataset, month: ZoneMonth) -> Month:
    return Month(
        intensity=dataset.intensity[month.zone][: month.start_hour + month.hours],
        start=month.start_hour,
        traffic=dataset.traffic[: month.hours],
    )


def conditions_of(name: str, conditions: Conditions) -> Conditions:
    """BASE learns nothing and pays for nothing; the paper's policies trust the last round only, so each asks anew."""
    if name == "BASE":
        return replace(conditions, budget=0.0)
    if name == "OURS":
        return conditions
    return replace(conditions, asked_again_h=0.0, last_round_only=True, most_per_round=PAPER_PER_ROUND)


def policy_of(name: str, comparison: Comparison) -> Policy:
    xi = comparison.rule.xi
    policies: Mapping[str, Policy] = {
        "BASE": Base(),
        "CO2_OPT": Co2Opt(),
        "SPROUT_STA": SproutStatic(xi=xi),
        "SPROUT": sprout(xi),
        "OURS": DirectivePolicy(name="OURS", rule=comparison.rule, confidence=comparison.confidence),
    }
    return policies[name]


def row_of(comparison: Comparison, month: ZoneMonth, name: str, seed: int, score: Recording, outcome: Outcome) -> Row:
    own = name == "OURS"
    with np.errstate(invalid="ignore", divide="ignore"):
        by_workload = outcome.preferred[:, 0] / outcome.preferred[:, 1]
        saved = 1 - outcome.served_by_workload[:, 0] / outcome.served_by_workload[:, 1]
        accuracy = outcome.correct / outcome.requests[:, None]
    known = [index for index in range(len(score.workloads)) if np.isfinite(by_workload[index])]
    worst = min(known, key=lambda index: by_workload[index], default=None)
    total_g = outcome.served_g.sum() + outcome.evaluation_g
    return {
        "zone": month.zone,
        "month": month.month,
        "policy": name,
        "workloads": comparison.workloads.value if own else Workloads.NONE.value,
        "floor_mode": comparison.rule.mode.value if own else FloorMode.SERVICE.value,
        "seed": seed,
        "saving": float(1 - total_g / outcome.base_g.sum()),
        "preference": _overall(outcome.preferred),
        "worst_workload": None if worst is None else score.workloads[worst],
        "worst_preference": None if worst is None else float(by_workload[worst]),
        "per_workload": {
            workload: {
                "saving": _number(saved[index]),
                "preference": _number(by_workload[index]),
                "grams_per_request": _number(outcome.served_by_workload[index, 0] / outcome.requests[index]),
            }
            for index, workload in enumerate(score.workloads)
            if outcome.requests[index] > 0
        },
        "gold_accuracy": {
            workload: {"accuracy": float(accuracy[index, 0]), "at_l0": float(accuracy[index, 1])}
            for index, workload in enumerate(score.workloads)
            if np.isfinite(accuracy[index]).all()
        },
        "evaluation_overhead": float(outcome.evaluation_g / outcome.served_g.sum()),
        "rounds": outcome.rounds,
        "clean_rounds": clean_share(outcome.evaluation.hours, _hours(comparison, month, len(outcome.mixes))),
        "verdicts": outcome.verdicts,
        "grams_per_request": float(total_g / outcome.requests.sum()),
    }


def _hours(comparison: Comparison, month: ZoneMonth, number: int) -> Floats:
    """The intensities of the first `number` hours from the month's start on."""
    return dataset_of(comparison.dataset).intensity[month.zone][month.start_hour : month.start_hour + number]


def _overall(preferred: Floats) -> float | None:
    picked, at_l0 = preferred.sum(axis=0)
    return _number(picked / at_l0) if at_l0 else None


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _published_rows(comparison: Comparison, months: Sequence[ZoneMonth], seed: int) -> Iterator[Row]:
    dataset = dataset_of(comparison.dataset)
    for month in months:
        published = PublishedMonth(
            dataset, month, xi=comparison.rule.xi, hardware=comparison.conditions.hardware, seed=seed
        )
        for name in comparison.policies:
            if name not in PUBLISHED_NAMES:
                continue
            outcome = asdict(published.run(name))
            saving, preference = month.published[PUBLISHED_NAMES[name]]
            yield {
                "zone": month.zone,
                "month": month.month,
                "policy": name,
                "workloads": Workloads.NONE.value,
                "floor_mode": FloorMode.SERVICE.value,
                "seed": seed,
                **outcome,
                "worst_workload": None,
                "worst_preference": None,
                "per_workload": {},
                "gold_accuracy": {},
                "evaluation_overhead": 0.0,
                "clean_rounds": None,
                "published_saving": saving,
                "published_preference": preference,
            }
