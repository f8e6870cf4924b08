"""Output tokens, energy and footprint of a request at each level, on GSM8K questions with real vLLM.

    python benchmarks/levels.py --dataset PATH/gsm8k_test.jsonl.gz [--requests 200] [--json FILE]

Each question is pinned to one level, at random with a fixed seed, so that the levels answer questions of the same kind
at the same time. Prints n, mean and 95 % interval per level.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

MODEL = "smollm2-135m-instruct"
LEVELS = ("L0", "L1", "L2")
FIGURES = ("completion_tokens", "energy_j", "footprint_g")
Z_95 = 1.96


def questions(dataset: Path, count: int) -> Sequence[str]:
    with gzip.open(dataset, "rt", encoding="utf-8") as file:
        return [json.loads(text)["question"] for text, _ in zip(file, range(count), strict=False)]


def write_input(path: Path, texts: Sequence[str], seed: int) -> None:
    draw = random.Random(seed)
    levels = [LEVELS[number % len(LEVELS)] for number in range(len(texts))]
    draw.shuffle(levels)
    with path.open("w", encoding="utf-8") as file:
        for number, (text, level) in enumerate(zip(texts, levels, strict=True)):
            body = {
                "model": MODEL,
                "messages": [{"role": "user", "content": text}],
                "max_tokens": 512,
                "temperature": 0,
                "metadata": {"sprout_level": level, "sprout_workload": "gsm8k"},
            }
            entry = {"custom_id": f"gsm-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
            file.write(json.dumps(entry) + "\n")


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half-width of its 95 % interval (normal)."""
    return fmean(values), Z_95 * stdev(values) / math.sqrt(len(values))


def summarise(answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for level in LEVELS:
        own = [answer["sprout"] for answer in answers if answer["sprout"]["level"] == level]
        found[level] = {"n": len(own), **{name: interval([entry[name] for entry in own]) for name in FIGURES}}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if not options.dataset.is_file():
        sys.exit(f"{options.dataset} is absent: name GSM8K's test questions as gzipped JSONL.")
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder) / "in.jsonl", Path(folder) / "out.jsonl"
        write_input(source, questions(options.dataset, options.requests), options.seed)
        subprocess.run([sys.executable, "-m", "app.cli", "batch", "run", source, "-o", output], check=True)
        answers = [json.loads(text) for text in output.read_text(encoding="utf-8").splitlines()]
    ids = [answer["custom_id"] for answer in answers]
    found = summarise(answers)
    print(f"{len(ids)} answers, {len(set(ids))} different custom_ids; mean and 95 % interval")
    print(f"{'level':<6}{'n':>5}{'output tokens':>20}{'energy, J':>20}{'footprint, mg':>20}")
    for level, row in found.items():
        (tokens, t), (joules, j), (grams, g) = (row[name] for name in FIGURES)
        cells = (f"{tokens:.1f} ± {t:.1f}", f"{joules:.1f} ± {j:.1f}", f"{grams * 1000:.2f} ± {g * 1000:.2f}")
        print(f"{level:<6}{row['n']:>5}" + "".join(f"{cell:>20}" for cell in cells))
    if options.json:
        options.json.write_text(json.dumps({"answers": len(ids), "levels": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
