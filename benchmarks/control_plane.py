"""How many requests a second pass through everything but the engine, from the upload to the downloaded output file.

    python benchmarks/control_plane.py [--requests 1000,10000,100000] [--pairs 3] [--json FILE]

`sprout up` on a fresh folder, everything embedded, with an engine that answers at once. Sizes are run in turn,
`--pairs` times. Prints medians with their range, what each process took of the time, and its most memory.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stack import Watch, stack

from app.cli.client import Client

MODEL = "instant"
POLL_S = 0.05
"""At most, and no more than a twentieth of what a small batch takes."""
SENTENCE = "A train leaves the station at seven and another one at eight, and question {number} is when they meet. "
SETTINGS = {"SPROUT_ENGINE": "benchmarks.engines:instant", "SPROUT_MODEL_NAME": MODEL}


def write_input(path: Path, requests: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        for number in range(requests):
            messages = [
                {"role": "system", "content": "You answer questions about timetables."},
                {"role": "user", "content": SENTENCE.format(number=number) * 5},
            ]
            body = {"model": MODEL, "messages": messages, "max_tokens": 128, "temperature": 0}
            entry = {"custom_id": f"q-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
            file.write(json.dumps(entry) + "\n")


def run(client: Client, folder: Path, requests: int) -> dict[str, float]:
    """Seconds of each phase. Asserts that every line came back once."""
    source, target = folder / f"in-{requests}.jsonl", folder / f"out-{requests}.jsonl"
    if not source.exists():
        write_input(source, requests)
    started = time.monotonic()
    file_id = client.upload(source, source.name)
    uploaded = time.monotonic()
    batch = client.create(file_id, endpoint="/v1/chat/completions", window="24h", metadata={})
    ended: dict[str, Any] = dict(batch)
    validated = answered = 0.0
    poll_s = min(POLL_S, requests / 60_000)
    while ended["status"] not in ("completed", "failed", "expired", "cancelled"):
        time.sleep(poll_s)
        ended = dict(client.batch(batch["id"]))
        if not validated and ended["status"] != "validating":
            validated = time.monotonic()
        if not answered and ended["status"] not in ("validating", "in_progress"):
            answered = time.monotonic()
    completed = time.monotonic()
    assert ended["status"] == "completed", ended
    client.download(ended["output_file_id"], target)
    end = time.monotonic()
    with target.open(encoding="utf-8") as file:
        ids = [json.loads(line)["custom_id"] for line in file]
    assert ids == [f"q-{number}" for number in range(requests)]
    return {
        "total": end - started,
        "upload": uploaded - started,
        "validate": validated - uploaded,
        "generate": answered - validated,
        "finalize": completed - answered,
        "download": end - completed,
    }


def report(sizes: Sequence[int], runs: dict[int, list[dict[str, float]]]) -> dict[int, dict[str, float]]:
    print(f"{'requests':>9} {'requests/s':>22} {'us each':>8}  seconds: upload, validate, generate, finalize, download")
    found = {}
    for size in sizes:
        rates = sorted(size / entry["total"] for entry in runs[size])
        median = statistics.median(rates)
        phases = {name: statistics.median(entry[name] for entry in runs[size]) for name in runs[size][0]}
        parts = ", ".join(f"{seconds:.2f}" for name, seconds in phases.items() if name != "total")
        spread = f"{median:.0f} ({rates[0]:.0f} to {rates[-1]:.0f})"
        print(f"{size:>9} {spread:>22} {1e6 / median:>8.0f}  {parts}")
        found[size] = {"requests_per_s": median, "least": rates[0], "most": rates[-1], **phases}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", default="1000,10000,100000", help="sizes, separated by commas")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    sizes = [int(size) for size in options.requests.split(",")]
    with tempfile.TemporaryDirectory(prefix="sprout-control-") as name:
        folder = Path(name)
        with stack(folder, SETTINGS) as (process, client):
            run(client, folder, 1000)  # connections are open, modules are loaded
            with Watch(process) as seen:
                runs: dict[int, list[dict[str, float]]] = {size: [] for size in sizes}
                for _ in range(options.pairs):
                    for size in sizes:
                        runs[size].append(run(client, folder, size))
    found = report(sizes, runs)
    print("most memory (unique, MiB) and CPU seconds: ", end="")
    names = sorted(seen.peak_mib, key=seen.peak_mib.__getitem__, reverse=True)
    print(", ".join(f"{part} {seen.peak_mib[part]:.0f} / {seen.cpu_s.get(part, 0.0):.1f}" for part in names))
    if options.json:
        largest = found[max(sizes)]["requests_per_s"]
        memory = {"peak_mib": seen.peak_mib, "cpu_s": seen.cpu_s}
        options.json.write_text(json.dumps({"requests_per_s": largest, "sizes": found, **memory}, indent=2) + "\n")


if __name__ == "__main__":
    main()
