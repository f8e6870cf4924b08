"""Classes of prompts: how long learning and assigning takes, how large a model is, and how well its names hold.

    python benchmarks/discovery.py --dataset PATH [--fit 3000] [--json FILE]

PATH is a folder as `sprout replay` reads it. Learns from `--fit` of its prompts, drawn with a fixed seed, and assigns
the others: one at a time (`assign`), and as validation names a file's requests (`name`), as they are and joined to
prompts of 1 000 characters. Naming is the median of several runs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from app.discovery.model import ClassModel, Fitted, fit
from app.domain.request import Request
from app.domain.workload import DEFAULT_WORKLOAD, floor_of
from app.services.discovery import named
from app.simulation.dataset import Recording, load

RUNS = 7
KILOBYTE = 1_000


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """The result, and how many seconds it took."""
    start = time.perf_counter()
    return call(), time.perf_counter() - start


def learn(recording: Recording, previous: ClassModel | None = None) -> Fitted:
    return fit(recording.prompts, [None] * len(recording), recording.energy_j[:, 0], previous=previous)


def megabytes(model: ClassModel) -> float:
    arrays = [model.embedding.projection, model.centroids, model.strata.coefficients, model.strata.cuts]
    terms = sum(len(term.encode()) for term in model.embedding.vocabulary)
    return (sum(array.nbytes for array in arrays) + terms) / 1e6


def naming_us(model: ClassModel, prompts: Sequence[str]) -> float:
    """Microseconds for each prompt."""
    requests = [
        Request(
            line=line,
            custom_id=str(line),
            body={"messages": [{"role": "user", "content": prompt}]},
            workload=DEFAULT_WORKLOAD,
            pinned_level=None,
        )
        for line, prompt in enumerate(prompts, 1)
    ]
    return 1e6 * statistics.median(timed(lambda: list(named(requests, model)))[1] for _ in range(RUNS)) / len(prompts)


def measure(recording: Recording, number: int) -> dict[str, Any]:
    rows = np.random.default_rng(0).permutation(len(recording))
    learned, unseen = recording.take(rows[:number]), recording.take(rows[number:])
    learn(learned.take(np.arange(200)))  # loads scikit-learn
    fitted, fit_s = timed(lambda: learn(learned))
    model: ClassModel = fitted.model
    each = [timed(lambda prompt=prompt: model.assign([prompt], [None])) for prompt in unseen.prompts]
    names = [name for (name,), _ in each]
    moved = recording.take(rows[number // 5 : number // 5 + number])
    refitted, refit_s = timed(lambda: learn(moved, model).model)
    again = refitted.assign(unseen.prompts, [None] * len(unseen))
    kept = np.mean([floor_of(old) == floor_of(new) for old, new in zip(names, again, strict=True)])
    long = "\n".join(recording.prompts)[:1_000_000]
    joined = "\n".join(unseen.prompts)
    kilobytes = [joined[start : start + KILOBYTE] for start in range(0, len(joined), KILOBYTE)]
    stratum = np.array([int(name.partition("~")[2] or 0) for name in names])
    joules = {number: unseen.energy_j[stratum == number, 0] for number in sorted(set(stratum.tolist()))}
    return {
        "prompts": number,
        "fit_s": fit_s,
        "refit_s": refit_s,
        "assign_ms": 1000 * float(np.mean([seconds for _, seconds in each])),
        "assign_p99_ms": 1000 * float(np.quantile([seconds for _, seconds in each], 0.99)),
        "assign_megabyte_ms": 1000 * timed(lambda: model.assign([long], [None]))[1],
        "name_us": naming_us(model, unseen.prompts),
        "name_kilobyte_us": naming_us(model, kilobytes),
        "model_mb": megabytes(model),
        "workloads": dict(sorted(Counter(map(floor_of, names)).items())),
        "names_kept_over_refit": float(kept),
        "share_of_stratum": {number: round(len(own) / len(names), 3) for number, own in joules.items()},
        "energy_j_of_stratum": {number: round(float(own.mean())) for number, own in joules.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--fit", type=int, default=3000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if not arguments.dataset.is_dir():
        print(f"Skipped: there is no dataset at {arguments.dataset}.")
        return
    found = measure(load(arguments.dataset).recording, arguments.fit)
    for name, value in found.items():
        print(f"{name:24} {value if not isinstance(value, float) else round(value, 3)}")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
