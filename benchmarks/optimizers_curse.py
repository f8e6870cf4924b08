"""How often a floor of 100 % is missed when one round of verdicts decides: the optimizer's curse.

    python benchmarks/optimizers_curse.py --dataset PATH [--draws 2000] [--verdicts 1000] [--json FILE]

PATH is a folder as `sprout replay` reads it. Each draw samples verdicts from its judged requests in the proportions of
the traffic, decides once with xi = 0, and is held against the rates of all judged requests. A miss is a preference
below 100 % of L0's: of the whole service, or of any workload. No strata: those choose among noisier figures yet.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.domain.attribution import Use
from app.domain.footprint import Hardware
from app.domain.optimizer import FloorMode, FloorRule
from app.domain.policy import POINT, DirectivePolicy, Known, Observation
from app.domain.preference import from_picks
from app.simulation.dataset import Dataset, Recording, load

MISS = 1 - 1e-6
INTENSITY = 300.0
"""gCO2eq/kWh; with xi = 0 the floor does not depend on it."""


def policies() -> Mapping[str, DirectivePolicy]:
    def policy(mode: FloorMode, confidence: float, worth: float) -> DirectivePolicy:
        rule = FloorRule(mode=mode, xi=0.0, quality_worth=worth, kept_at_l0=0.0)
        return DirectivePolicy(name="", rule=rule, confidence=confidence)

    return {
        "service, means at face value (the paper)": policy(FloorMode.SERVICE, POINT, 0.0),
        "aggregate, means at face value": policy(FloorMode.AGGREGATE, POINT, 0.0),
        "per workload, means at face value": policy(FloorMode.PER_WORKLOAD, POINT, 0.0),
        "per workload, worth 0.25, means at face value": policy(FloorMode.PER_WORKLOAD, POINT, 0.25),
        "per workload, worth 0.25, confidence 0.6": policy(FloorMode.PER_WORKLOAD, 0.6, 0.25),
        "per workload, worth 0.25, confidence 0.9": policy(FloorMode.PER_WORKLOAD, 0.9, 0.25),
        "per workload, worth 0.25, confidence 0.99": policy(FloorMode.PER_WORKLOAD, 0.99, 0.25),
    }


@dataclass(frozen=True, kw_only=True)
class Truth:
    """Over all judged requests."""

    rates: np.ndarray
    """W x L."""
    uses: tuple[Mapping[int, Use], ...]
    shares: np.ndarray


def truth(dataset: Dataset) -> Truth:
    recording = dataset.recording
    rows = [recording.workload == index for index in range(len(recording.workloads))]
    means = dataset.means
    uses = tuple(
        {
            level: Use(energy_j=float(means.energy_j[index, level]), device_s=float(means.device_s[index, level]))
            for level in range(recording.levels)
        }
        for index in range(len(rows))
    )
    rates = np.array([recording.picked[own].mean(axis=0) for own in rows])
    return Truth(rates=rates, uses=uses, shares=dataset.traffic.mean(axis=0))


def drawn(recording: Recording, known: Truth, verdicts: int, rng: np.random.Generator) -> Observation:
    """What one round of verdicts tells."""
    workloads = []
    for index, number in enumerate(rng.multinomial(verdicts, known.shares)):
        own = np.flatnonzero(recording.workload == index)
        picks = recording.pick[rng.choice(own, min(number, len(own)), replace=False)]
        workloads.append(
            Known(
                workload=recording.workloads[index],
                floor=recording.workloads[index],
                share=float(known.shares[index]),
                uses=known.uses[index],
                quality=from_picks(np.bincount(picks, minlength=recording.levels).tolist()),
            )
        )
    return Observation(
        intensity_g_per_kwh=INTENSITY,
        past=[INTENSITY],
        workloads=workloads,
        levels=recording.levels,
        hardware=Hardware(),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--verdicts", type=int, default=1000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    dataset = load(options.dataset)
    recording, known = dataset.recording, truth(dataset)
    base = known.shares @ known.rates[:, 0]
    rng = np.random.default_rng(0)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in policies()}
    for _ in range(options.draws):
        seen = drawn(recording, known, options.verdicts, rng)
        for name, policy in policies().items():
            decided = policy.decide(seen).mixes
            mixes = np.array([decided[workload] for workload in recording.workloads])
            kept = (mixes * known.rates).sum(axis=1)
            found[name].append((known.shares @ kept / base, (kept / known.rates[:, 0]).min()))
    rows = {}
    print(f"| decided on {options.verdicts} verdicts | service below 100 % | a workload below | mean worst |")
    print("|---|---|---|---|")
    for name, values in found.items():
        service, worst = np.array(values).T
        rows[name] = {
            "service_missed": float((service < MISS).mean()),
            "workload_missed": float((worst < MISS).mean()),
            "mean_worst": float(worst.mean()),
        }
        print("| {} | {:.0%} | {:.0%} | {:.1%} |".format(name, *rows[name].values()))
    if options.json:
        options.json.write_text(json.dumps({"draws": options.draws, "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
