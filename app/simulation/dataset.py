"""A recorded history to replay: judged requests measured at every level, traffic, and a year of carbon intensity.

A dataset is a folder:

| file | columns |
|---|---|
| `measurements.parquet` | `workload`, `request_id`, `model`, `level`, `energy_kwh`, `duration_s` |
| `preferences.csv` | `workload`, `request_id`, `preferred_level` |
| `responses.jsonl.gz` | `request_id`, `prompt`, `responses` {`L0`: ...}, `reference` |
| `composition.csv` | `hour`, then the share of each workload |
| `carbon_intensity.csv.gz` | `datetime_utc`, `zone`, `direct_gco2eq_per_kwh` |
| `published_results.csv` | `zone`, `month`, `start_hour`, `policy`, `hours`, and the published figures |
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from app.domain.arrays import Floats, Ints
from app.domain.errors import ConfigurationError, InvalidInput
from app.domain.reference import is_correct
from app.domain.units import JOULES_PER_KWH

CHECKABLE = 0.9
"""A workload has an accuracy only if this share of its references can be checked."""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """Judged requests. R requests, L levels; axis 0 of every array is the request."""

    workloads: tuple[str, ...]
    request_ids: tuple[str, ...]
    prompts: tuple[str, ...]
    workload: Ints
    """Index into `workloads`."""
    pick: Ints
    """The level whose answer the judge picked as best."""
    energy_j: Floats
    """R x L, one request at a time on one device."""
    device_s: Floats
    correct: Floats
    """R x L: 1 or 0 against the reference answer, NaN where it cannot be checked."""

    def __len__(self) -> int:
        return len(self.request_ids)

    @property
    def levels(self) -> int:
        return int(self.energy_j.shape[1])

    @cached_property
    def picked(self) -> Floats:
        """R x L: 1 where the level was picked."""
        return np.eye(self.levels)[self.pick]

    @property
    def checked(self) -> Floats:
        """R x L: `correct`, with what cannot be checked taken as its workload's mean, so that means stay unbiased."""
        filled = self.correct.copy()
        for index in range(len(self.workloads)):
            rows = np.flatnonzero((self.workload == index) & np.isnan(self.correct[:, 0]))
            others = self.correct[(self.workload == index) & ~np.isnan(self.correct[:, 0])]
            filled[rows] = others.mean(axis=0) if len(others) else np.nan
        return filled

    def take(self, chosen: NDArray[np.bool_] | Ints) -> Recording:
        """The chosen requests, under the same workload names."""
        rows = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
        return Recording(
            workloads=self.workloads,
            request_ids=tuple(self.request_ids[row] for row in rows),
            prompts=tuple(self.prompts[row] for row in rows),
            workload=self.workload[rows],
            pick=self.pick[rows],
            energy_j=self.energy_j[rows],
            device_s=self.device_s[rows],
            correct=self.correct[rows],
        )


@dataclass(frozen=True, kw_only=True)
class ModelMeans:
    """Mean use of a request of each workload: W x L for the large model's levels, W for the small model at L0."""

    energy_j: Floats
    device_s: Floats
    small_energy_j: Floats
    small_device_s: Floats


@dataclass(frozen=True, kw_only=True)
class ZoneMonth:
    """One stretch of hours in one zone, and what the authors published about it, by policy."""

    zone: str
    month: str
    start_hour: int
    hours: int
    published: Mapping[str, tuple[float, float]]
    """Carbon saving against BASE and mean preference relative to L0's, as fractions."""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    recording: Recording
    means: ModelMeans
    """Over all measured requests, judged or not."""
    traffic: Floats
    """Hours x W: shares, rows sum to 1."""
    intensity: Mapping[str, Floats]
    """Per zone, gCO2eq/kWh of every hour of the year."""
    months: tuple[ZoneMonth, ...]

    def months_of(self, *, zone: str | None, month: str | None) -> Sequence[ZoneMonth]:
        """Raises InvalidInput when there is none of that zone or month, naming those there are."""
        found = [m for m in self.months if zone in (None, m.zone) and month in (None, m.month)]
        if not found:
            asked = " ".join(f"{kind} {name}" for kind, name in (("zone", zone), ("month", month)) if name)
            known = ", ".join(f"{m.zone} {m.month}" for m in self.months)
            raise InvalidInput(f"The dataset has no {asked}: it has {known}.")
        return found


def load(folder: Path) -> Dataset:
    """Read a dataset.

    Raises:
        ConfigurationError: the folder or one of its files is missing, or the reader of its format is not installed.
        InvalidInput: a file lacks a column, or its figures cannot be used.
    """
    if not folder.is_dir():
        raise ConfigurationError(f"There is no dataset folder {folder}: name the folder with measurements.parquet.")
    try:
        traffic_names, traffic = _traffic(folder / "composition.csv")
        measured = _measurements(folder / "measurements.parquet")
        intensity = _intensity(folder / "carbon_intensity.csv.gz")
        return Dataset(
            recording=_recording(folder, traffic_names, measured),
            means=_means(traffic_names, measured),
            traffic=traffic,
            intensity=intensity,
            months=_months(folder / "published_results.csv", intensity, len(traffic)),
        )
    except FileNotFoundError as exc:
        raise ConfigurationError(f"The dataset {folder} lacks {Path(exc.filename).name}.") from exc
    except KeyError as exc:
        raise InvalidInput(f"The dataset {folder} lacks the column or request {exc}.") from exc
    except (ValueError, TypeError, OSError, EOFError) as exc:
        raise InvalidInput(f"The dataset {folder} cannot be read: {exc}.") from exc


def _rows(path: Path) -> Iterator[Mapping[str, str]]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8", newline="") as file:
        yield from csv.DictReader(cast("Iterable[str]", file))


def _traffic(path: Path) -> tuple[tuple[str, ...], Floats]:
    rows = list(_rows(path))
    names = tuple(name for name in rows[0] if name != "hour") if rows else ()
    shares = np.array([[float(row[name]) for name in names] for row in rows])
    if not shares.size or not np.isfinite(shares).all() or (shares < 0).any() or (shares.sum(axis=1) <= 0).any():
        raise InvalidInput(f"{path.name} needs at least one hour, with shares that are not negative and not all zero.")
    return names, shares / shares.sum(axis=1, keepdims=True)


Use = tuple[str, float, float]  # workload, joules, seconds


def _measurements(path: Path) -> Mapping[tuple[str, int], Mapping[str, Use]]:
    """By (model, level) and request."""
    try:
        from pyarrow import parquet
    except ImportError as exc:
        raise ConfigurationError("Reading measurements.parquet needs pyarrow: pip install 'sprout[replay]'.") from exc
    names = ("workload", "request_id", "model", "level", "energy_kwh", "duration_s")
    if not path.is_file():
        raise FileNotFoundError(None, None, path)
    if missing := set(names) - set(parquet.read_schema(path).names):
        raise KeyError(", ".join(sorted(missing)))
    table = parquet.read_table(path, columns=list(names))
    found: dict[tuple[str, int], dict[str, Use]] = {}
    for workload, request, model, level, energy_kwh, duration_s in zip(
        *(table.column(name).to_pylist() for name in names), strict=True
    ):
        if not all(use is not None and 0 <= use < np.inf for use in (energy_kwh, duration_s)):
            raise InvalidInput(f"Request {request} at level {level} was measured at {energy_kwh} kWh, {duration_s} s.")
        found.setdefault((model, level), {})[request] = (workload, energy_kwh * JOULES_PER_KWH, duration_s)
    return found


def _large(measured: Mapping[tuple[str, int], Mapping[str, Use]]) -> tuple[str, int]:
    """The model that was measured at several levels, and their number."""
    name = next((model for model, level in measured if level > 0), None)
    if name is None:
        raise InvalidInput("No model was measured at a level other than L0.")
    return name, 1 + max(level for model, level in measured if model == name)


def _recording(
    folder: Path, workloads: tuple[str, ...], measured: Mapping[tuple[str, int], Mapping[str, Use]]
) -> Recording:
    model, levels = _large(measured)
    picks = {row["request_id"]: row for row in _rows(folder / "preferences.csv")}
    if (judged := {row["workload"] for row in picks.values()}) != set(workloads):
        alone = ", ".join(sorted(judged ^ set(workloads)))
        raise InvalidInput(f"Only one of preferences.csv and composition.csv has the workloads {alone}: both must.")
    texts = _texts(folder / "responses.jsonl.gz", levels)
    ids = sorted(picks)
    uses = np.array([[measured[model, level][request][1:] for level in range(levels)] for request in ids])
    workload = np.array([workloads.index(picks[request]["workload"]) for request in ids])
    correct = np.array([texts[request][1] for request in ids], dtype=float)
    for index in range(len(workloads)):
        if np.isfinite(correct[workload == index, 0]).mean() < CHECKABLE:
            correct[workload == index] = np.nan
    pick = np.array([int(picks[request]["preferred_level"]) for request in ids])
    if pick.min() < 0 or pick.max() >= levels:
        raise InvalidInput(f"preferences.csv prefers a level outside 0 to {levels - 1}.")
    return Recording(
        workloads=workloads,
        request_ids=tuple(ids),
        prompts=tuple(texts[request][0] for request in ids),
        workload=workload,
        pick=pick,
        energy_j=uses[:, :, 0],
        device_s=uses[:, :, 1],
        correct=correct,
    )


def _texts(path: Path, levels: int) -> Mapping[str, tuple[str, list[bool | None]]]:
    """Prompt and correctness per level, by request."""
    found: dict[str, tuple[str, list[bool | None]]] = {}
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            row: dict[str, Any] = json.loads(line)
            answers = (row["responses"][f"L{level}"] for level in range(levels))
            correct = [is_correct(row["prompt"], row["reference"], answer) for answer in answers]
            found[row["request_id"]] = row["prompt"], correct
    return found


def _means(workloads: Sequence[str], measured: Mapping[tuple[str, int], Mapping[str, Use]]) -> ModelMeans:
    model, levels = _large(measured)
    small = next((name for name, _ in measured if name != model), None)

    def mean(name: str, level: int) -> Floats:
        uses = measured[name, level].values()
        return np.array([np.mean([use[1:] for use in uses if use[0] == own], axis=0) for own in workloads])

    large = np.stack([mean(model, level) for level in range(levels)], axis=1)
    other = mean(small, 0) if small else np.full((len(workloads), 2), np.nan)
    return ModelMeans(
        energy_j=large[:, :, 0], device_s=large[:, :, 1], small_energy_j=other[:, 0], small_device_s=other[:, 1]
    )


def _intensity(path: Path) -> Mapping[str, Floats]:
    zones: dict[str, list[tuple[str, float]]] = {}
    for row in _rows(path):
        zones.setdefault(row["zone"], []).append((row["datetime_utc"], float(row["direct_gco2eq_per_kwh"])))
    for zone, hours in zones.items():
        if hours != sorted(hours) or not np.isfinite([grams for _, grams in hours]).all():
            raise InvalidInput(f"The carbon intensity of {zone} is not ascending in time, or not finite.")
    return {zone: np.array([grams for _, grams in hours]) for zone, hours in zones.items()}


def _months(path: Path, intensity: Mapping[str, Floats], traffic_h: int) -> tuple[ZoneMonth, ...]:
    rows: dict[tuple[str, str], list[Mapping[str, str]]] = {}
    for row in _rows(path):
        rows.setdefault((row["zone"], row["month"]), []).append(row)
        start, hours = int(row["start_hour"]), int(row["hours"])
        if start < 0 or not 0 < hours <= min(traffic_h, len(intensity.get(row["zone"], ())) - start):
            raise InvalidInput(f"{row['zone']}, {row['month']}: not all its hours have an intensity and a traffic.")
    return tuple(
        ZoneMonth(
            zone=zone,
            month=month,
            start_hour=int(found[0]["start_hour"]),
            hours=int(found[0]["hours"]),
            published={
                row["policy"]: (float(row["carbon_saving_vs_base"]), float(row["mean_normalized_preference"]))
                for row in found
            },
        )
        for (zone, month), found in rows.items()
    )
