"""A small recorded dataset in the format that `app.simulation.dataset` reads, and the way to the published one."""

from __future__ import annotations

import csv
import gzip
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.random import Generator

from app.domain.footprint import Hardware
from app.simulation.dataset import Recording
from app.simulation.replay import Month
from tests.support.prompts import TOPICS

WORKLOADS = ("sums", "quiz", "letters")
RATES = {"sums": (0.5, 0.3, 0.2), "quiz": (0.3, 0.4, 0.3), "letters": (0.36, 0.36, 0.28)}
"""How often the judge picks each level."""
ENERGY_KWH = {"sums": 2e-4, "quiz": 1e-4, "letters": 4e-4}
RELATIVE = (1.0, 0.3, 0.2)
"""Energy of each level, relative to L0."""
RIGHT = (0.8, 0.7, 0.6)
"""How often an answer at each level is correct."""

PER_WORKLOAD = 90
"""Judged requests of each: a random half of all three is enough to learn classes from."""
UNJUDGED = 5
HOURS_OF_YEAR = 1000
HOURS_OF_TRAFFIC = 60
ZONES = ("NORTH", "SOUTH")
MONTHS = (("NORTH", "2023-02", 800, 60), ("SOUTH", "2023-02", 800, 60), ("NORTH", "2023-06", 900, 48))
"""Zone, name, first hour and hours."""
POLICIES = ("baseline", "co2opt", "clover", "static", "lp", "oracle")

Row = dict[str, Any]


@dataclass(kw_only=True)
class Contents:
    """The rows of each file, to be changed before they are written."""

    measurements: list[Row]
    preferences: list[Row]
    responses: list[Row]
    composition: list[Row]
    intensity: list[Row]
    published: list[Row]

    def write(self, folder: Path) -> Path:
        import pyarrow as pa
        from pyarrow import parquet

        folder.mkdir(parents=True, exist_ok=True)
        parquet.write_table(pa.Table.from_pylist(self.measurements), folder / "measurements.parquet")
        (folder / "preferences.csv").write_text(as_csv(self.preferences), encoding="utf-8")
        (folder / "composition.csv").write_text(as_csv(self.composition), encoding="utf-8")
        (folder / "published_results.csv").write_text(as_csv(self.published), encoding="utf-8")
        lines = "".join(json.dumps(row) + "\n" for row in self.responses)
        (folder / "responses.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
        (folder / "carbon_intensity.csv.gz").write_bytes(gzip.compress(as_csv(self.intensity).encode()))
        return folder


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    text = StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def contents(*, seed: int = 0, per_workload: int = PER_WORKLOAD, workloads: Sequence[str] = WORKLOADS) -> Contents:
    """Three workloads of 90 judged requests and 5 more that were only measured, in two zones."""
    rng = np.random.default_rng(seed)
    found = Contents(
        measurements=[],
        preferences=[],
        responses=[],
        composition=_composition(rng, workloads),
        intensity=_intensity(rng),
        published=_published(),
    )
    for workload in workloads:
        for number in range(per_workload + UNJUDGED):
            request = f"{workload}-{seed}-{number:03}"
            found.measurements += _measured(rng, workload, request)
            if number < per_workload:
                pick = int(rng.choice(3, p=RATES[workload]))
                found.preferences.append({"workload": workload, "request_id": request, "preferred_level": pick})
                found.responses.append({"request_id": request, **_text(rng, workload)})
    return found


def record(folder: Path, **choices: Any) -> Path:
    """Write the small dataset."""
    return contents(**choices).write(folder)


def _measured(rng: Generator, workload: str, request: str) -> list[Row]:
    energy_kwh = ENERGY_KWH[workload] * rng.uniform(0.5, 1.5)
    uses = [("large", level, energy_kwh * part * rng.uniform(0.9, 1.1)) for level, part in enumerate(RELATIVE)]
    return [
        {
            "workload": workload, "request_id": request, "model": model, "level": level,
            "energy_kwh": used, "duration_s": used * 12_000,
        }
        for model, level, used in [*uses, ("small", 0, energy_kwh / 2)]
    ]  # fmt: skip


def _text(rng: Generator, workload: str) -> Row:
    first, second, third, fourth = rng.choice(TOPICS, 4, replace=False)
    a, b = rng.integers(2, 1000, 2)
    right = rng.random(3) < RIGHT
    if workload == "sums":
        prompt = f"A farmer has {a} {first}s and buys {b} more. How many {first}s are there now?"
        answers = [f"There are {a + b if found else a - b} {first}s." for found in right]
        return _row(prompt, answers, f"{a} + {b} = {a + b}\n#### {a + b}")
    if workload == "quiz":
        prompt = f"Which of them costs {a} pounds?\n(A): a {first}\n(B): a {second}\n(C): the {third} number {b}"
        return _row(prompt, [f"The answer is ({'B' if found else 'C'})." for found in right], "B")
    prompt = f"Write a friendly letter to my landlord about the {first} near {second} {a} and the {third} of {fourth}."
    return _row(prompt, [f"Dear landlord, {first} {number}." for number in range(3)], "Dear landlord of ours, " * 3)


def _row(prompt: str, answers: Sequence[str], reference: str) -> Row:
    responses = {f"L{level}": answer for level, answer in enumerate(answers)}
    return {"prompt": prompt, "responses": responses, "reference": reference}


def _composition(rng: Generator, workloads: Sequence[str]) -> list[Row]:
    shares = rng.dirichlet([3.0] * len(workloads), HOURS_OF_TRAFFIC)
    return [
        {"hour": hour, **dict(zip(workloads, map(float, row), strict=True))} for hour, row in enumerate(shares.round(6))
    ]


def _intensity(rng: Generator) -> list[Row]:
    start = datetime(2023, 1, 1, tzinfo=UTC)
    rows = []
    for number, zone in enumerate(ZONES, start=1):
        noise = rng.uniform(0, 60, HOURS_OF_YEAR)
        for hour in range(HOURS_OF_YEAR):
            grams = 150 * number + 100 * np.sin(2 * np.pi * hour / 24) + noise[hour]
            at = f"{start + timedelta(hours=hour):%Y-%m-%dT%H:%M:%SZ}"
            rows.append({"datetime_utc": at, "zone": zone, "direct_gco2eq_per_kwh": round(float(grams), 3)})
    return rows


def _published() -> list[Row]:
    return [
        {
            "zone": zone, "month": month, "start_hour": start, "policy": policy, "hours": hours,
            "mean_normalized_preference": 1 - 0.02 * place, "carbon_saving_vs_base": 0.1 * place,
        }
        for zone, month, start, hours in MONTHS
        for place, policy in enumerate(POLICIES)
    ]  # fmt: skip


def a_recording(
    workload: Sequence[int], pick: Sequence[int], *, levels: int = 3, workloads: Sequence[str] = ("v", "w")
) -> Recording:
    """Requests of the given workloads and picks; of energies that all differ."""
    number = len(pick)
    energy_j = 300.0 + 10 * np.arange(number)[:, None] - 90 * np.arange(levels)
    return Recording(
        workloads=tuple(workloads),
        request_ids=tuple(f"request-{row}" for row in range(number)),
        prompts=tuple(f"prompt {row}" for row in range(number)),
        workload=np.array(workload, dtype=np.int64),
        pick=np.array(pick, dtype=np.int64),
        energy_j=energy_j,
        device_s=energy_j / 100,
        correct=np.full((number, levels), np.nan),
    )


def a_month(*, hours: int = 24, before: int = 48, workloads: int = 2, seed: int = 0) -> Month:
    """Random intensities and traffic."""
    rng = np.random.default_rng(seed)
    return Month(
        intensity=rng.uniform(100, 400, before + hours),
        start=before,
        traffic=rng.dirichlet([2.0] * workloads, hours),
    )


def grams(energy_j: float, device_s: float, intensity: float, hardware: Hardware | None = None) -> float:
    """The footprint of one request."""
    used = hardware or Hardware()
    return used.price(energy_j=energy_j, device_s=device_s, intensity_g_per_kwh=intensity).total_g


def published_dataset() -> Path:
    """The authors' measurements; the test is skipped where the data are absent."""
    data = Path(os.environ.get("SPROUT_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
    folder = data / "sprout-emnlp24"
    if not (folder / "measurements.parquet").is_file():
        pytest.skip(f"{folder} is absent: set SPROUT_TEST_DATA to the folder that holds sprout-emnlp24/")
    return folder
