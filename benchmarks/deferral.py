"""Whether deferral keeps its deadlines: with bad forecasts, bursts, machines that fail, and more work than can be done.

    python benchmarks/deferral.py --dataset PATH --requests PATH [--hours 168] [--every 24] [--shards 20] [--json F]

PATH of `--dataset` is a folder as `sprout replay` reads it, that of `--requests` a trace of requests with TIMESTAMP and
GeneratedTokens (CSV, may be gzipped). Batches arrive hourly and are planned anew every hour, over the intensity of one
zone-month. Arrivals:

- even: the same work every hour, 24 h to do it;
- bursty: every second of the trace is an hour; its requests times 200, as long as the tokens they generated;
- daily: the bursty work of a day, all at midnight;
- mixed: bursty, with 6, 24 and 72 h to do it in turn.

The machines are so many times the fewest with which all deadlines would be kept at half the capacity, earliest deadline
first and at once. Half of them fail for good, in every `--every`th hour and in the one in which most is held: unnoticed
by the planner, or known to it from then on. A batch is *told* if its deadline is not promised at admission; it may be
*promised* later. Then so few machines that not all deadlines can be kept, and a batch that is too big for its window.
A shard (`--shards` a batch) is not interrupted: one that runs on all machines delays a promise by its length.
"""

from __future__ import annotations

import argparse
import copy
import csv
import gzip
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from app.domain.arrays import Floats
from app.domain.batch import Schedule
from app.domain.forecast import forecast
from app.domain.work import S_PER_H, SAFE_SHARE, Demand, margin_h
from app.simulation.dataset import load
from app.simulation.rolling import Batch, Rolling

ZONE, MONTH = "AU-SA", "2023-02"
"""Where most is saved, so that most is held."""
REQUESTS, MEAN_S = 1000, 4.87
ROOMS = (1.02, 1.5, 2.0)
SCARCE = 0.7
TOO_BIG_H, SHORT_H = 20, 6
"""Machine-hours at half the capacity of a batch that has this long."""
DRAIN_H = 72

Expected = Callable[[int, int], Floats]
"""Intensities from an hour of the replay on, the present one among them."""


def forecasts(series: Floats, start: int) -> Mapping[str, Expected]:
    def known(now: int, hours: int) -> Floats:
        return series[start + now : start + now + hours]

    def with_present(later: Expected) -> Expected:
        return lambda now, hours: np.append(series[start + now], later(now, hours - 1))

    def noise(now: int, hours: int) -> Floats:
        past = series[: start + now + 1]
        return np.random.default_rng(now).uniform(past.min(), past.max(), hours)

    def inverted(now: int, hours: int) -> Floats:
        true = known(now, hours + 1)
        return true.max() + true.min() - true[1:]

    return {
        "perfect": known,
        "built-in": with_present(lambda now, hours: forecast(series[: start + now + 1], hours)),
        "noise": with_present(noise),
        "constant": lambda now, hours: np.full(hours, series[start + now]),
        "inverted": with_present(inverted),
        "ever cleaner": lambda now, hours: np.linspace(1.0, 0.0, hours),
    }


@dataclass(frozen=True, kw_only=True)
class Scenario:
    batches: Sequence[Batch]
    device_s: Floats
    """Of a request, by batch."""

    @property
    def last_h(self) -> int:
        return int(max(batch.due_h for batch in self.batches)) + 1

    def least(self) -> float:
        """The fewest machines with which all deadlines are safe: those of any interval, within it, at SAFE_SHARE."""
        at = np.array([batch.at_h for batch in self.batches])
        due = np.array([batch.due_h - margin_h(batch.window_h) for batch in self.batches])
        takes_h = self.device_s * [batch.requests.sum() for batch in self.batches] / S_PER_H
        order, need = np.argsort(due, kind="stable"), 0.0
        for begin in np.unique(at):
            rows = order[at[order] >= begin]
            need = max(need, float((np.cumsum(takes_h[rows]) / (due[rows] - begin)).max()))
        return need / SAFE_SHARE

    def rolling(self, expected: Expected) -> Rolling:
        outlook = Uneven(device_s=self.device_s, expected=expected)
        used_s = np.repeat(self.device_s[:, None], self.last_h + DRAIN_H, axis=1)
        return Rolling(batches=self.batches, used_s=used_s, outlook=outlook)

    def with_batch(self, batch: Batch, device_s: float) -> Scenario:
        place = sum(other.at_h <= batch.at_h for other in self.batches)
        batches = [*self.batches[:place], batch, *self.batches[place:]]
        return Scenario(batches=batches, device_s=np.insert(self.device_s, place, device_s))


@dataclass(frozen=True, kw_only=True)
class Uneven:
    """The outlook where batches differ and hours do not."""

    device_s: Floats
    expected: Expected

    def demands(self, now: int, batches: Sequence[int], hours: int) -> Sequence[Demand]:
        intensity = self.expected(now, hours)
        return [
            Demand(device_s=np.full(hours, self.device_s[batch]), cost_g=self.device_s[batch] * intensity)
            for batch in batches
        ]


def arrivals(trace: Path, hours: int, number: int) -> Mapping[str, Scenario]:
    numbers, tokens = by_second(trace, hours)
    mean_s = MEAN_S * tokens * numbers.sum() / np.maximum(numbers, 1) / tokens.sum()
    busy = np.flatnonzero(numbers)

    def scenario(windows: Sequence[float], every_h: int = 1) -> Scenario:
        batches = [
            Batch(
                at_h=int(hour // every_h * every_h),
                requests=shards(int(200 * numbers[hour]), number),
                window_h=windows[place % len(windows)],
            )
            for place, hour in enumerate(busy)
        ]
        return Scenario(batches=batches, device_s=mean_s[busy])

    even = [Batch(at_h=hour, requests=shards(REQUESTS, number)) for hour in range(hours)]
    return {
        "even": Scenario(batches=even, device_s=np.full(hours, MEAN_S)),
        "bursty": scenario([24.0]),
        "daily": scenario([24.0], every_h=24),
        "mixed": scenario([6.0, 24.0, 72.0]),
    }


def shards(requests: int, number: int) -> np.ndarray:
    found = np.diff(np.linspace(0, requests, number + 1).astype(np.int64))
    return found[found > 0]


def by_second(trace: Path, seconds: int) -> tuple[Floats, Floats]:
    """Requests, and the tokens that they generated, in each of the first seconds."""
    with gzip.open(trace, "rt", encoding="utf-8") if trace.suffix == ".gz" else trace.open(encoding="utf-8") as file:
        rows = [(row["TIMESTAMP"][:26], float(row["GeneratedTokens"])) for row in csv.DictReader(file)]
    times = np.array([time for time, _ in rows], dtype="datetime64[us]")
    second = (times - times[0]) // np.timedelta64(1, "s")
    counts = [np.bincount(second, weights=weights, minlength=seconds) for weights in (None, [row[1] for row in rows])]
    return counts[0][:seconds].astype(float), counts[1][:seconds]


def halved(rolling: Rolling, now: int, devices: float, measured: float) -> np.ndarray:
    """Batches missed, and those of them that were promised, if from `now` on half of the machines work.

    Of those that are due by the end of what is tried.
    """
    shared = {id(part): part for part in (rolling.batches, rolling.used_s, rolling.outlook)}
    forked = copy.deepcopy(rolling, shared)
    end = min(now + DRAIN_H, forked.used_s.shape[1])
    forked.run(range(now, end), measured=measured, devices=devices / 2)
    due = np.array([batch.due_h for batch in forked.batches])
    return counted(forked.missed & (due > now) & (due <= end), forked)


def counted(missed: np.ndarray, rolling: Rolling) -> np.ndarray:
    return np.array([missed.sum(), (missed & rolling.promised).sum()])  # all, and those of them that were promised


def shown(both: np.ndarray) -> str:
    return f"{both[0]} ({both[1]})"


def try_out(scenario: Scenario, expected: Expected, devices: float, every: int) -> dict[str, Any]:
    """With all machines, and with half of them from hour after hour on."""
    rolling = scenario.rolling(expected)
    held = np.zeros(scenario.last_h)
    lost = {"unnoticed": np.zeros(2, np.int64), "known": np.zeros(2, np.int64)}

    def fork(state: Rolling, now: int) -> None:
        for name, measured in (("unnoticed", devices), ("known", devices / 2)):
            lost[name] += halved(state, now, devices, measured)

    for now in range(scenario.last_h):
        if now % every == 0:
            fork(rolling, now)
        rolling.hour(now, devices, devices)
        held[now] = rolling.held
    worst = scenario.rolling(expected)
    worst.run(range(int(held.argmax()) + 1), devices, devices)
    fork(worst, int(held.argmax()) + 1)
    return {
        "batches": len(scenario.batches),
        "told": int(rolling.told.sum()),
        "promised": int(rolling.promised.sum()),
        "missed (promised)": shown(counted(rolling.missed, rolling)),
        "most held": int(held.max()),
        "halved": len(range(0, scenario.last_h, every)) + 1,
        **{f"{name}: missed (promised)": shown(both) for name, both in lost.items()},
    }


def too_little(scenario: Scenario, expected: Expected) -> dict[str, Any]:
    """With fewer machines than all deadlines need, beside all of it at once: missed, and those of them promised."""
    devices = SCARCE * scenario.least()
    found: dict[str, Any] = {"batches": len(scenario.batches)}
    for schedule in Schedule:
        batches = [replace(batch, schedule=schedule) for batch in scenario.batches]
        for name, working in (("all", devices), ("half", devices / 2)):
            rolling = replace(scenario, batches=batches).rolling(expected)
            rolling.run(range(scenario.last_h), devices, working)
            found[f"{schedule}, {name}: told, promised"] = f"{rolling.told.sum()}, {rolling.promised.sum()}"
            found[f"{schedule}, {name}: missed (promised)"] = shown(counted(rolling.missed, rolling))
    return found


def too_big(scenario: Scenario, expected: Expected, every: int, number: int) -> dict[str, Any]:
    """One batch more that cannot end in time, in one hour or another; from then on all machines work, or half."""
    devices = ROOMS[0] * scenario.least()
    tried = range(24, scenario.last_h - DRAIN_H, every)
    counts = {"all": np.zeros(2, np.int64), "half": np.zeros(2, np.int64)}
    told, requests = 0, int(TOO_BIG_H * SAFE_SHARE * devices * S_PER_H / MEAN_S)
    for now in tried:
        big = Batch(at_h=now, requests=shards(requests, number), window_h=SHORT_H)
        more = scenario.with_batch(big, MEAN_S)
        place = next(index for index, batch in enumerate(more.batches) if batch is big)
        due = np.array([batch.due_h for batch in more.batches])
        for name, share in (("all", 1.0), ("half", 0.5)):
            rolling = more.rolling(expected)
            rolling.run(range(now), devices, devices)
            rolling.run(range(now, now + DRAIN_H), devices, share * devices)
            missed = rolling.missed & (due <= now + DRAIN_H) & (np.arange(len(due)) != place)
            counts[name] += counted(missed, rolling)
        told += int(rolling.told[place])
    others = {f"{name}: others missed (promised)": shown(both) for name, both in counts.items()}
    return {"tried": len(tried), "told": told, **others}


def show(title: str, rows: Mapping[str, Mapping[str, Any]]) -> None:
    names = list(next(iter(rows.values())))
    print(f"\n| {title} | " + " | ".join(names) + " |\n|---|" + "---|" * len(names))
    for label, row in rows.items():
        print(f"| {label} | " + " | ".join(str(row[name]) for name in names) + " |", flush=True)


def tables(options: argparse.Namespace) -> Iterator[tuple[str, Mapping[str, Mapping[str, Any]]]]:
    dataset = load(options.dataset)
    (month,) = dataset.months_of(zone=ZONE, month=MONTH)
    expected = forecasts(dataset.intensity[ZONE], month.start_hour)
    found = arrivals(options.requests, options.hours, options.shards)
    scenarios = {name: found[name] for name in options.arrivals or found}
    for name, scenario in scenarios.items():
        for room in ROOMS:
            devices = room * scenario.least()
            tried = {kind: try_out(scenario, see, devices, options.every) for kind, see in expected.items()}
            yield f"{name}, {room:g} times the fewest machines", tried
    seen, cleaner = expected["perfect"], expected["ever cleaner"]
    few = {name: too_little(each, seen) for name, each in scenarios.items()}
    yield f"{SCARCE:g} times the fewest machines", few
    big = {name: too_big(each, cleaner, options.every, options.shards) for name, each in scenarios.items()}
    yield "a batch that is too big", big


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--requests", type=Path, required=True)
    parser.add_argument("--hours", type=int, default=168)
    parser.add_argument("--every", type=int, default=24)
    parser.add_argument("--arrivals", nargs="+", choices=("even", "bursty", "daily", "mixed"), help="by default all")
    parser.add_argument("--shards", type=int, default=20, help="of a batch")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if absent := [path for path in (options.dataset, options.requests) if not path.exists()]:
        print(f"Skipped: there is nothing at {absent[0]}.")
        return
    found = {}
    for title, rows in tables(options):
        show(title, rows)
        found[title] = rows
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
