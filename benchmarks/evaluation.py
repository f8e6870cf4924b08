"""What rounds of evaluation cost, when they run, and what not knowing the true quality costs.

    python benchmarks/evaluation.py --dataset PATH [--seeds 20] [--traffic 1000 10000 100000]
        [--world population [halves]] [--zone ZONE] [--month MONTH] [--json FILE]

PATH is a folder as `sprout replay` reads it. OURS is replayed with its defaults (a floor per workload, xi 0.1) and the
trigger, gate and budget of live service, in two worlds:

- *population*: the recorded requests are the population. Each request of the traffic that may be judged is a draw from
  them with repetition, and what is served has their mean use and rates. A true quality exists, verdicts never run out,
  and nothing but evaluation stands between OURS and the truth.
- *halves*: as `sprout replay` has it, one random half learned from and the other scored. All verdicts there are is one
  half's, about 490 a workload, whatever the traffic.

*Regret* is saving at equal realised preference of the worst workload: that of a policy with the same rule that knows
the quality from the first hour on and pays nothing, less that of OURS with evaluation charged. Its xi is what brings
its preference to OURS's, read off between the steps of a sweep, each seed by itself over the mean of its zone-months.
Who knows, knows one of:

- *truth*: the true use and rates of every class that is scored;
- *all verdicts* (halves only): every verdict of the half that is learned from, at OURS's confidence. In halves the
  truth contains the noise of the scored half, which no evaluation could learn: what it saves more is not regret alone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import product
from pathlib import Path
from time import monotonic

import numpy as np

from app.domain.policy import DirectivePolicy, Known
from app.simulation.comparison import Comparison, Row, dataset_of, policy_of, row_of, run
from app.simulation.dataset import Recording, ZoneMonth
from app.simulation.informed import MOST_XI, Informed, dirtiness_by_hour, with_all_verdicts, with_truth
from app.simulation.outcome import Bill, Evaluation
from app.simulation.partition import Partition, Workloads, partition
from app.simulation.replay import Month, replay

TRAFFIC = (1_000, 10_000, 100_000)
DRAWN = 30
"""Requests that may be judged in the population, for every one that was recorded: more than any month judges."""

SWEEP = np.linspace(0.0, MOST_XI, 51)
"""xi of who knows."""


@dataclass(frozen=True, kw_only=True)
class World:
    """What is learned from, what is scored, and the classes of both."""

    name: str
    fit: Recording
    score: Recording
    parts: Partition


@cache
def _classes_of_all(dataset: Path) -> Partition:
    recording = dataset_of(dataset).recording
    return partition(recording, recording, Workloads.DECLARED, strata=True)


def population(comparison: Comparison, seed: int) -> World:
    recording = dataset_of(comparison.dataset).recording
    parts = _classes_of_all(comparison.dataset)
    rows = np.random.default_rng([seed, len(recording)]).integers(len(recording), size=DRAWN * len(recording))
    drawn = Partition(classes=parts.classes, fit=parts.score[rows], score=parts.score)
    return World(name="population", fit=recording.take(rows), score=recording, parts=drawn)


def rows_of_seed(
    options: argparse.Namespace,
    comparison: Comparison,
    months: Sequence[ZoneMonth],
    seed: int,
    fit: Recording,
    score: Recording,
    parts: Partition,
) -> Iterator[Row]:
    """For every world and zone-month: OURS at every traffic, and who knows at every xi."""
    if "population" in options.world:
        world = population(comparison, seed)
        yield from _learned(world, comparison, months, seed, options.traffic)
        for row in _truth_of_population(comparison):
            yield {**row, "seed": seed}
    if "halves" in options.world:
        world = World(name="halves", fit=fit, score=score, parts=parts)
        policy, truth = with_truth(score, parts, comparison.rule)
        ours = replace(policy, confidence=comparison.confidence)
        yield from _learned(world, comparison, months, seed, options.traffic)
        yield from _known(world, comparison, months, seed, "truth", policy, truth)
        verdicts = with_all_verdicts(fit, parts, comparison.conditions)
        yield from _known(world, comparison, months, seed, "all verdicts", ours, verdicts)


@cache
def _truth_of_population(comparison: Comparison) -> Sequence[Row]:
    """The same for every seed."""
    months = dataset_of(comparison.dataset).months_of(zone=comparison.zone, month=comparison.month)
    world = population(comparison, seed=0)
    policy, known = with_truth(world.score, world.parts, comparison.rule)
    return list(_known(world, comparison, months, 0, "truth", policy, known))


def recorded(comparison: Comparison, month: ZoneMonth) -> Month:
    dataset = dataset_of(comparison.dataset)
    return Month(
        intensity=dataset.intensity[month.zone][: month.start_hour + month.hours],
        start=month.start_hour,
        traffic=dataset.traffic[: month.hours],
    )


def _learned(
    world: World, comparison: Comparison, months: Sequence[ZoneMonth], seed: int, traffic: Sequence[int]
) -> Iterator[Row]:
    for month, number in product(months, traffic):
        conditions = replace(comparison.conditions, requests_per_hour=number)
        rng = np.random.default_rng([seed, month.start_hour])
        policy = policy_of("OURS", comparison)
        outcome = replay(policy, recorded(comparison, month), world.fit, world.score, world.parts, conditions, rng)
        found = row_of(comparison, month, "OURS", seed, world.score, outcome)
        yield {**found, "world": world.name, "knows": None, "requests_per_hour": number}


def _known(
    world: World,
    comparison: Comparison,
    months: Sequence[ZoneMonth],
    seed: int,
    knows: str,
    policy: DirectivePolicy,
    known: Sequence[Known],
) -> Iterator[Row]:
    hardware = comparison.conditions.hardware
    now = np.concatenate([recorded(comparison, month).now for month in months])
    informed = Informed.of(policy, known, levels=world.score.levels, intensity=now, hardware=hardware)
    bill = Bill.of(world.score, world.parts, hardware)
    for month in months:
        hours = recorded(comparison, month)
        phi = dirtiness_by_hour(hours)
        for xi in SWEEP.tolist():
            outcome = bill.settle(
                arrived=hours.traffic,
                served=hours.traffic,
                mixes=informed.mixes(hours.now, xi * phi),
                intensity=hours.now,
                evaluation=Evaluation(),
            )
            found = row_of(comparison, month, "OURS", seed, world.score, outcome)
            yield {**found, "world": world.name, "knows": knows, "xi": xi}


def at_equal_preference(own: Sequence[Row], knowing: Sequence[Row]) -> tuple[float, bool]:
    """Saving of who knows less that of OURS in one seed, and whether the sweep reaches OURS's worst preference."""
    saving, worst = _means(own)
    curve = sorted(_means([row for row in knowing if row["xi"] == xi])[::-1] for xi in {row["xi"] for row in knowing})
    reach, savings = zip(*curve, strict=True)
    return float(np.interp(worst, reach, savings)) - saving, reach[0] <= worst <= reach[-1]


def _means(rows: Sequence[Row]) -> tuple[float, float]:
    return float(np.mean([row["saving"] for row in rows])), float(np.mean([row["worst_preference"] for row in rows]))


def regrets(rows: Sequence[Row], world: str, number: int, knows: str) -> Row:
    here = [row for row in rows if row["world"] == world]
    seeds = sorted({row["seed"] for row in here})
    found = [
        at_equal_preference(
            [row for row in here if row["seed"] == seed and row.get("requests_per_hour") == number],
            [row for row in here if row["seed"] == seed and row["knows"] == knows],
        )
        for seed in seeds
    ]
    values = [value for value, _ in found]
    return {
        "world": world,
        "requests_per_hour": number,
        "knows": knows,
        "regret": float(np.mean(values)),
        "sd": float(np.std(values, ddof=1)) if len(values) > 1 else 0.0,
        "least": min(values),
        "most": max(values),
        "seeds": len(values),
        "out_of_reach": sum(not inside for _, inside in found),
    }


def costs(rows: Sequence[Row], world: str, number: int) -> Row:
    own = [row for row in rows if row["world"] == world and row.get("requests_per_hour") == number]
    clean = [row["clean_rounds"] for row in own if row["clean_rounds"] is not None]

    def mean(name: str) -> float:
        return float(np.mean([row[name] for row in own]))

    return {
        "world": world,
        "requests_per_hour": number,
        "saving": mean("saving"),
        "preference": mean("preference"),
        "worst_preference": mean("worst_preference"),
        "rounds": mean("rounds"),
        "clean_rounds": float(np.mean(clean)),
        "overhead": mean("evaluation_overhead"),
        "most_overhead": max(row["evaluation_overhead"] for row in own),
        "verdicts": mean("verdicts"),
    }


def show(cost: Sequence[Row], regret: Sequence[Row]) -> None:
    print(
        "| world | requests an hour | rounds a month | in the cleanest third | evaluation, mean | at most | verdicts |"
        " saving | overall | worst workload |\n|---|---|---|---|---|---|---|---|---|---|"
    )
    for row in cost:
        print(
            "| {world} | {requests_per_hour} | {rounds:.0f} | {clean_rounds:.0%} | {overhead:.2%} |"
            " {most_overhead:.3%} | {verdicts:.0f} |"
            " {saving:.1%} | {preference:.1%} | {worst_preference:.1%} |".format(**row)
        )
    print("\n| world | requests an hour | knows | regret, points | least to most | seeds | out of reach |")
    print("|---|---|---|---|---|---|---|")
    for row in regret:
        points = {name: 100 * row[name] for name in ("regret", "sd", "least", "most")}
        print(
            "| {world} | {requests_per_hour} | {knows} | {regret:.1f} ± {sd:.1f} | {least:.1f} to {most:.1f} |"
            " {seeds} | {out_of_reach} |".format(**{**row, **points})
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--traffic", type=int, nargs="+", default=TRAFFIC, help="Requests an hour.")
    parser.add_argument("--world", nargs="+", choices=("population", "halves"), default=("population",))
    parser.add_argument("--zone")
    parser.add_argument("--month")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    started = monotonic()
    comparison = Comparison(dataset=options.dataset, zone=options.zone, month=options.month, seeds=options.seeds)
    rows = run(comparison, replayed=partial(rows_of_seed, options))
    pairs = [(world, number) for world in options.world for number in options.traffic]
    cost = [costs(rows, world, number) for world, number in pairs]
    regret = [
        regrets(rows, world, number, knows)
        for world, number in pairs
        for knows in sorted({row["knows"] for row in rows if row["world"] == world} - {None})
    ]
    show(cost, regret)
    print(f"\n{options.seeds} seeds, {monotonic() - started:.0f} s")
    if options.json:
        options.json.write_text(json.dumps({"costs": cost, "regrets": regret}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
