"""How long a small batch takes beside the backlog of another tenant, and alone.

    python benchmarks/fairness.py [--backlog 100000] [--requests 100] [--slots 16] [--latency 2] [--times 3]

`sprout up` on a fresh folder, everything embedded, with an engine that answers after `--latency` seconds, as many
requests at once as it has slots. Prints the seconds from a batch's submission to its end, each time.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path

from control_plane import write_input
from engines import LATENCY_VARIABLE
from stack import stack

from app.cli.client import Client
from app.domain.tenant import Limits
from app.embedded.home import Home
from app.services import keys, tenants
from app.services.context import SystemClock
from app.store.database import TENANT, Database

POLL_S = 0.05
LET_RUN_S = 5.0


def a_client(home: Path, tenant: str) -> Client:
    """With a key of the tenant, which is made where it is not there."""
    found, clock = Home(home).read_stack(), SystemClock()
    assert found is not None
    with closing(Database(found.urls["database_url"])) as database:
        if tenant != TENANT:
            tenants.add(database, clock, tenant, weight=1.0, allowed=Limits())
        return Client(found.urls["api_url"], key=keys.create(database, clock, tenant).secret)


def submit(client: Client, folder: Path, requests: int) -> str:
    source = folder / f"in-{requests}.jsonl"
    if not source.exists():
        write_input(source, requests)
    return str(
        client.create(client.upload(source, source.name), endpoint="/v1/chat/completions", window="24h", metadata={})[
            "id"
        ]
    )


def duration_s(client: Client, folder: Path, requests: int) -> float:
    started = time.monotonic()
    batch_id = submit(client, folder, requests)
    while (batch := client.batch(batch_id))["status"] != "completed":
        assert batch["status"] in ("validating", "in_progress", "finalizing"), batch
        time.sleep(POLL_S)
    return time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backlog", type=int, default=100_000)
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--latency", type=float, default=2.0)
    parser.add_argument("--times", type=int, default=3)
    options = parser.parse_args()
    settings = {
        "SPROUT_ENGINE": "benchmarks.engines:waiting",
        "SPROUT_MODEL_NAME": "instant",
        "SPROUT_ENGINE_MAX_SEQS": str(options.slots),
        LATENCY_VARIABLE: str(options.latency),
    }
    with tempfile.TemporaryDirectory(prefix="sprout-fairness-") as name:
        folder = Path(name)
        with stack(folder, settings), a_client(folder, TENANT) as large, a_client(folder, "small") as small:
            with a_client(folder, "alone") as nobody_else:
                alone = [duration_s(nobody_else, folder, options.requests) for _ in range(options.times)]
            backlog = submit(large, folder, options.backlog)
            while not large.batch(backlog)["request_counts"]["completed"]:
                time.sleep(POLL_S)
            beside = []
            for _ in range(options.times):
                time.sleep(LET_RUN_S)
                beside.append(duration_s(small, folder, options.requests))
            left = large.batch(backlog)
    for title, found in (("alone", alone), ("beside", beside)):
        each = ", ".join(f"{seconds:.1f}" for seconds in found)
        print(f"{title:<7} {statistics.median(found):.1f} s ({each})")
    print(f"of the backlog {left['request_counts']['completed']} of {options.backlog} were answered meanwhile")
    print(f"ratio of the medians: {statistics.median(beside) / statistics.median(alone):.2f}")


if __name__ == "__main__":
    main()
