"""The built-in forecast: its errors, and what moving work by it saves.

    python benchmarks/forecasts.py --dataset PATH [--forecasts PATH] [--json FILE]

PATH of `--dataset` is a folder as `sprout replay` reads it, that of `--forecasts` one with recorded forecasts
(`ERCO_*.csv.gz`, blocks of 96 hourly rows, one block a day).

Rolling deferral: one unit of work arrives each hour, must run within 24 hours and is planned anew every hour. Two units
fit into an hour; what is held must be feasible at one. Saving is against running each unit in the hour of its arrival.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.domain.forecast import forecast, mape, seasonal_naive

Floats = NDArray[np.float64]
Forecaster = Callable[[int, int], Floats]
"""The forecast of so many hours, issued in an hour of the series whose own intensity is known."""

WINDOW_H, CAPACITY, SAFE = 24, 2, 1
ZONES, MONTHS, MONTH_H = ("AU-SA", "GB", "US-TEX-ERCO"), (800, 3900, 7000), 720
LEADS_H = (1, 6, 12, 24, 48, 96)
BLOCK_H = 96
SHORT_PASTS_DAYS = (1, 2, 3, 6, 7, 14, 30)


def due_now(costs: Floats, pending: Sequence[int]) -> int:
    """Units of the present hour in the cheapest plan; `pending` counts those due by the end of each hour (24)."""
    held = np.cumsum(pending) - SAFE * np.arange(1, WINDOW_H + 1)
    least = np.maximum.accumulate(held[::-1])[::-1] + SAFE * np.arange(1, WINDOW_H + 1)
    order = np.argsort(costs, kind="stable").tolist()
    placed = [0] * WINDOW_H
    for hours, needed in enumerate(least.tolist(), start=1):
        missing = needed - sum(placed[:hours])
        for slot in order:
            if missing <= 0:
                break
            if slot < hours:
                taken = min(CAPACITY - placed[slot], missing)
                placed[slot] += taken
                missing -= taken
    return placed[0]


def saving(series: Floats, expected: Forecaster, start: int, hours: int) -> float:
    """Share of carbon saved by deferring the work that arrives in `hours` hours from `start`."""
    pending, grams = [0] * WINDOW_H, 0.0
    for now in range(start, start + hours + WINDOW_H - 1):
        pending[-1] += now < start + hours
        units = due_now(np.append(series[now], expected(now, WINDOW_H - 1)), pending)
        grams += float(series[now]) * units
        for due in range(WINDOW_H):  # the earliest deadline first
            run = min(units, pending[due])
            pending[due] -= run
            units -= run
        pending = [*pending[1:], 0]
    return 1 - grams / float(series[start : start + hours].sum())


def forecasters(series: Floats) -> dict[str, Forecaster]:
    return {
        "naive": lambda now, hours: seasonal_naive(series[: now + 1], hours),
        "built-in": lambda now, hours: forecast(series[: now + 1], hours),
        "perfect": lambda now, hours: series[now + 1 : now + 1 + hours],
    }


def load_series(dataset: Path, column: str) -> Mapping[str, Floats]:
    found: dict[str, list[float]] = {}
    with gzip.open(dataset / "carbon_intensity.csv.gz", "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["zone"], []).append(float(row[column]))
    return {zone: np.array(values) for zone, values in found.items()}


def zone_months(all_series: Mapping[str, Floats]) -> dict[str, dict[str, float]]:
    rows = {
        f"{zone} {start}": {
            name: saving(all_series[zone], expected, start, MONTH_H)
            for name, expected in forecasters(all_series[zone]).items()
        }
        for zone in ZONES
        for start in MONTHS
    }
    rows["mean"] = {name: float(np.mean([row[name] for row in rows.values()])) for name in rows[f"{ZONES[0]} 800"]}
    return rows


def short_pasts(all_series: Mapping[str, Floats]) -> dict[str, dict[str, float]]:
    """Mean saving of the built-in forecast when it knows only the latest days."""

    def limited(series: Floats, days: int) -> Forecaster:
        return lambda now, hours: forecast(series[max(0, now + 1 - 24 * days) : now + 1], hours)

    return {
        f"{days} d": {
            "built-in": float(
                np.mean(
                    [
                        saving(all_series[zone], limited(all_series[zone], days), start, MONTH_H)
                        for zone in ZONES
                        for start in MONTHS
                    ]
                )
            )
        }
        for days in SHORT_PASTS_DAYS
    }


def errors(series: Floats, forecasts: Floats, issued: Sequence[int]) -> dict[str, float]:
    """Of forecasts (N x 96) issued in `issued` (N), by lead hour: MAPE; WAPE, the mean absolute error over the mean."""
    actual = np.array([series[now + 1 : now + 1 + BLOCK_H] for now in issued])
    share = mape(forecasts, actual)
    weighted = np.abs(forecasts - actual).mean(axis=0) / actual.mean(axis=0)
    found = {f"{lead} h": float(share[lead - 1]) for lead in LEADS_H}
    return found | {f"WAPE {lead} h": float(weighted[lead - 1]) for lead in LEADS_H}


def own_errors(series: Floats, issued: Sequence[int]) -> dict[str, dict[str, float]]:
    ways = forecasters(series)
    return {
        name: errors(series, np.array([ways[name](now, BLOCK_H) for now in issued]), issued)
        for name in ("naive", "built-in")
    }


def zone_errors(all_series: Mapping[str, Floats]) -> dict[str, dict[str, float]]:
    issued = [hour for start in MONTHS for hour in range(start, start + MONTH_H)]
    return {f"{zone} {name}": found for zone in ZONES for name, found in own_errors(all_series[zone], issued).items()}


def recorded(path: Path) -> tuple[Floats, Floats]:
    """The actual series, and the forecasts issued at the start of each of its days (days x 96)."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        values = [(float(row[2]), float(row[3])) for row in list(csv.reader(file))[1:]]
    blocks = np.array(values).reshape(-1, BLOCK_H, 2)
    return np.concatenate([blocks[:, :24, 0].ravel(), blocks[-1, 24:, 0]]), blocks[:, :, 1]


def against_recorded(path: Path) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Savings by the newest forecast of every hour, and errors of forecasts issued at midnight.

    From the eighth day on, so that there is a past.
    """
    series, blocks = recorded(path)

    def newest(now: int, hours: int) -> Floats:
        day = min(now // 24, len(blocks) - 1)
        return np.asarray(blocks[day, now + 1 - 24 * day :][:hours])

    ways = {**forecasters(series), "recorded": newest}
    savings = {name: saving(series, expected, 7 * 24, (len(blocks) - 9) * 24) for name, expected in ways.items()}
    issued = [24 * day - 1 for day in range(7, len(blocks))]
    return savings, own_errors(series, issued) | {"recorded": errors(series, blocks[7:], issued)}


def call_ms(series: Floats, hours: int, calls: int = 200) -> float:
    start = time.perf_counter()
    for now in range(2000, 2000 + calls):
        forecast(series[:now], hours)
    return 1000 * (time.perf_counter() - start) / calls


def show(title: str, rows: Mapping[str, Mapping[str, float]]) -> None:
    names = list(next(iter(rows.values())))
    print(f"\n| {title} | " + " | ".join(names) + " |\n|---|" + "---|" * len(names))
    for label, row in rows.items():
        print(f"| {label} | " + " | ".join(f"{row[name]:.1%}" for name in names) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--forecasts", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if not options.dataset.is_dir():
        print(f"Skipped: there is no dataset at {options.dataset}.")
        return
    tables: dict[str, Any] = {}
    for column in ("direct_gco2eq_per_kwh", "lifecycle_gco2eq_per_kwh"):
        basis, all_series = column.partition("_")[0], load_series(options.dataset, column)
        tables[f"saving, {basis}"] = zone_months(all_series)
        tables[f"MAPE, {basis}"] = zone_errors(all_series)
        tables[f"saving, {basis}, by length of the past"] = short_pasts(all_series)
    for path in sorted(options.forecasts.glob("*_Jul_Dec_2021.csv.gz")) if options.forecasts else ():
        name = path.name.partition("_carbon")[0]
        savings, mapes = against_recorded(path)
        tables |= {f"saving, {name} 2021": {"": savings}, f"MAPE, {name} 2021": mapes}
    for title, rows in tables.items():
        show(title, rows)
    times = {f"{hours} h": call_ms(all_series["GB"], hours) for hours in (24, 168)}
    print("\nA call takes " + ", ".join(f"{ms:.1f} ms for {hours}" for hours, ms in times.items()) + ".")
    if options.json:
        options.json.write_text(json.dumps({"tables": tables, "call_ms": times}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
