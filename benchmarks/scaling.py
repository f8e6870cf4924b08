"""What a second worker is worth, and how a batch ends when one of two is slow.

    python benchmarks/scaling.py [--requests 4000] [--pairs 3] [--json FILE]

The engine waits instead of computing, so that cores do not matter: 32 requests at once, 0.4 s each. `sprout up` has one
worker. In each pair the batch runs on it alone, with a second one, and with a second one whose requests take three
times as long; then each worker can do a third of the other's work and the ideal time is three quarters of one's.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from control_plane import MODEL, run
from engines import LATENCY_VARIABLE
from stack import ROOT, await_ready, environment, stack

from app.cli.client import Client
from app.embedded.home import Home

SLOTS = 32
LATENCY_S = 0.4
SLOWER = 3.0
SETTINGS = {
    "SPROUT_ENGINE": "benchmarks.engines:waiting",
    "SPROUT_MODEL_NAME": MODEL,
    "SPROUT_ENGINE_MAX_SEQS": str(SLOTS),
    LATENCY_VARIABLE: str(LATENCY_S),
}


@contextmanager
def second_worker(home: Path, folder: Path, slower: float) -> Iterator[None]:
    """Another worker of the stack on `home`, from when it takes work until the end of the block."""
    found = Home(home).read_stack()
    assert found is not None
    settings = {**SETTINGS, LATENCY_VARIABLE: str(LATENCY_S * slower)}
    urls = {"SPROUT_DATABASE_URL": found.urls["database_url"], "SPROUT_BROKER_URL": found.urls["broker_url"]}
    command = [sys.executable, "-m", "app.cli", "worker", "--queues", "generate", "--name", "second"]
    log = folder / "second.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment(folder, {**settings, **urls}), stdout=output, stderr=subprocess.STDOUT
        )
    try:
        await_ready(process, log, log)
        yield
    finally:
        process.terminate()
        process.wait(timeout=60)


def measure(client: Client, home: Path, folder: Path, requests: int) -> dict[str, float]:
    """Seconds from upload to output file: one worker, two alike, one and a slow one."""
    alone = run(client, folder, requests)["total"]
    with second_worker(home, folder, 1.0):
        both = run(client, folder, requests)["total"]
    with second_worker(home, folder, SLOWER):
        uneven = run(client, folder, requests)["total"]
    ideal = alone / (1 + 1 / SLOWER)
    return {"alone_s": alone, "two_s": both, "uneven_s": uneven, "speedup": alone / both, "over_ideal": uneven / ideal}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sprout-scaling-") as name:
        home, folder = Path(name) / "home", Path(name) / "second"
        folder.mkdir()
        with stack(home, SETTINGS) as (_, client):
            run(client, folder, 100)
            pairs = [measure(client, home, folder, options.requests) for _ in range(options.pairs)]
    print(f"{options.requests} requests, {SLOTS} at once, {LATENCY_S:g} s each; {os.cpu_count()} cores")
    for label, key in (("two workers: times one", "speedup"), ("one and a slow one: times the ideal", "over_ideal")):
        values = sorted(pair[key] for pair in pairs)
        print(f"{label} {statistics.median(values):.2f} ({values[0]:.2f} to {values[-1]:.2f})")
    for pair in pairs:
        print(", ".join(f"{key} {value:.2f}" for key, value in pair.items()))
    if options.json:
        medians = {key: statistics.median(pair[key] for pair in pairs) for key in pairs[0]}
        options.json.write_text(json.dumps({**medians, "pairs": pairs}, indent=2) + "\n")


if __name__ == "__main__":
    main()
