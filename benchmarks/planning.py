"""How long the planner of deferral takes over a full backlog, and how much memory.

    python benchmarks/planning.py [--batches 1000] [--shards 100] [--hours 168] [--runs 7] [--json FILE]

Batches of mixed sizes, costs and deadlines over the whole horizon, a tenth of them to run at once and, where there are
two zones, a fifth bound to one of them. The devices are half as many again as keep every deadline safe; then too few,
so that hours overflow. Memory is the most that planning holds beside its input.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import tracemalloc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from app.domain.arrays import Floats
from app.domain.batch import Schedule
from app.domain.deferral import Placement, plan
from app.domain.work import S_PER_H, SAFE_SHARE, Demand, Work

ZONES = ("DE", "FR")
ROOM = 1.5
"""Devices beside those that keep every deadline."""
SHORT = 0.3
"""And where they are too few."""
REQUESTS = 64


def backlog(
    rng: np.random.Generator, zones: Sequence[str], *, batches: int, shards: int, hours: int
) -> tuple[list[Work], Floats]:
    starts_h = np.concatenate([[0.0], 0.4 + np.arange(hours - 1)])
    daily = {zone: 250 + 150 * np.cos((starts_h - 6 * place) * np.pi / 12) for place, zone in enumerate(zones)}
    works = []
    for number in range(batches):
        bound = len(zones) > 1 and number % 5 == 0
        demand = {}
        for zone in zones[:1] if bound else zones:
            intensity = daily[zone] * rng.uniform(0.9, 1.1, hours)
            device_s = rng.uniform(0.2, 2.0) * (1 - 0.0005 * intensity)
            demand[zone] = Demand(device_s=device_s, cost_g=device_s * intensity / 3600)
        requests = np.full(shards, REQUESTS)
        requests[-1] = rng.integers(1, REQUESTS + 1)
        schedule = Schedule.ASAP if number % 10 == 1 else Schedule.CARBON
        works.append(Work(requests=requests, due_h=rng.uniform(1, hours), schedule=schedule, demand=demand))
    return works, starts_h


def devices(works: Sequence[Work], zones: Sequence[str]) -> float:
    """So many in each zone keep every deadline if the zones share the work evenly."""
    need, done = 0.0, 0.0
    for work in sorted(works, key=lambda work: work.due_h):
        done += float(work.requests.sum()) * max(demand.device_s.max() for demand in work.demand.values())
        need = max(need, done / (SAFE_SHARE * work.due_h * S_PER_H))
    return need / len(zones)


def measure(works: Sequence[Work], capacity: Mapping[str, float], starts_h: Floats, runs: int) -> dict[str, Any]:
    seconds, placed = [], list[Placement]()
    for _ in range(runs):
        start = time.perf_counter()
        placed = list(plan(works, capacity, starts_h))
        seconds.append(time.perf_counter() - start)
    tracemalloc.start()
    plan(works, capacity, starts_h)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {
        "best_s": min(seconds),
        "median_s": statistics.median(seconds),
        "peak_mb": peak / 1e6,
        "late": sum(place.late_h > 0 for place in placed) / len(placed),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=1000)
    parser.add_argument("--shards", type=int, default=100)
    parser.add_argument("--hours", type=int, default=168)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = {}
    print(f"| {options.batches} batches of {options.shards} shards | best | median | memory | batches late |")
    print("|---|---|---|---|---|")
    for number in (1, 2):
        zones, rng = ZONES[:number], np.random.default_rng(0)
        works, starts_h = backlog(rng, zones, batches=options.batches, shards=options.shards, hours=options.hours)
        for room in (ROOM, SHORT):
            name = f"{number} zone{'s' * (number > 1)}, {'room' if room >= 1 else 'too few devices'}"
            capacity = dict.fromkeys(zones, room * devices(works, zones))
            rows[name] = measure(works, capacity, starts_h, options.runs)
            print("| {} | {:.2f} s | {:.2f} s | {:.0f} MB | {:.0%} |".format(name, *rows[name].values()))
    if options.json:
        options.json.write_text(json.dumps({**vars(options), "json": None, "rows": rows}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
