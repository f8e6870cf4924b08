"""How long the scheduler takes to plan a full backlog anew, PostgreSQL included.

    python benchmarks/replanning.py [--batches 1000] [--shards 100] [--runs 5]

`benchmarks/planning.py` times the planner alone. Here batches and shards are read from a private PostgreSQL, planned
over 168 hours, and what changed is written back: all shards the first time, and little after a minute has passed.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from app.domain.batch import BatchStatus, Schedule
from app.domain.intensity import HOUR, Forecast, IntensityPoint
from app.domain.profile import Profile
from app.domain.shard import Lines
from app.embedded.postgres import EmbeddedPostgres
from app.ports import Queue, Task
from app.services import deferral
from app.services.context import Context
from app.settings import Settings
from app.store import batches, files, forecasts, intensity, migrate, profiles, shards, windows
from app.store.batches import Batch
from app.store.blobs import FolderStore
from app.store.database import TENANT, Database
from app.store.files import File
from app.store.windows import Window

START = datetime(2026, 3, 2, 12, tzinfo=UTC)
REQUESTS = 64
REQUEST_S = 0.5


class _Clock:
    def __init__(self) -> None:
        self.moment = START

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.moment.timestamp()


class _Silent:
    """Nobody is rung for."""

    def send(self, task: Task, argument: str, *, place: str = "", model: str = "", urgent: bool = False) -> None:
        pass

    def depth(self, queue: Queue, *, place: str = "", model: str = "") -> int:
        return 0


def fill(context: Context, number: int, each: int) -> None:
    settings, rng = context.settings, np.random.default_rng(0)
    known: dict[str, Any] = {"zone": settings.zone, "basis": settings.basis, "provider": "recorded"}
    hourly = [300 + 100 * float(np.sin(hour * np.pi / 12)) + float(rng.normal(0, 20)) for hour in range(169)]
    profile = Profile(
        workload="default",
        level=0,
        requests=100.0,
        energy_j=100.0,
        energy_sd_j=1.0,
        device_s=REQUEST_S,
        device_sd_s=0.1,
        completion_tokens=100.0,
    )
    with context.database.transaction() as connection:
        intensity.put(connection, [IntensityPoint(**known, start=START, intensity_g_per_kwh=hourly[0])], START)
        ahead = Forecast(**known, issued_at=START, start=START + HOUR, intensity_g_per_kwh=hourly[1:])
        forecasts.put(connection, ahead)
        profiles.put(connection, TENANT, settings.home_model, [profile], START)
        # Devices enough for twice the load.
        windows.add(connection, _window(4 * number * each * REQUESTS * REQUEST_S / (168 * 3600.0)))
        source = File(
            id="file-1", tenant_id=TENANT, purpose="batch", filename="in.jsonl", bytes=10**6, created_at=START
        )
        files.add(connection, source)
        for index in range(number):
            batch = _batch(index, each, START + timedelta(hours=float(rng.uniform(4, 167))))
            batches.add(connection, batch)
            ranges = [Lines(REQUESTS * at + 1, REQUESTS * (at + 1), REQUESTS) for at in range(each)]
            shards.add(connection, tenant=TENANT, batch_id=batch.id, ranges=ranges, now=START)


def _batch(index: int, each: int, expires_at: datetime) -> Batch:
    return Batch(
        id=f"batch_{index}",
        tenant_id=TENANT,
        endpoint="/v1/chat/completions",
        input_file_id="file-1",
        completion_window="7d",
        status=BatchStatus.IN_PROGRESS,
        created_at=START,
        in_progress_at=START,
        expires_at=expires_at,
        total=each * REQUESTS,
        model=Settings().home_model,
        schedule=Schedule.CARBON,
        composition=[{"workload": "default", "pinned_level": None, "requests": each * REQUESTS}],
    )


def _window(devices: float) -> Window:
    return Window(
        worker="worker",
        started_at=START - timedelta(seconds=10),
        ended_at=START,
        energy_j=4000.0,
        device_s=10 * devices,
        idle_energy_j=0.0,
        idle_device_s=0.0,
        energy_basis="modelled",
        zone=Settings().zone,
        model=Settings().home_model,
        intensity_g_per_kwh=300.0,
        intensity_basis=Settings().basis,
        intensity_origin="measured",
    )


def plan_once(context: Context) -> float:
    start = time.perf_counter()
    with context.database.transaction() as connection:
        deferral.plan_open(context, connection)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=1000)
    parser.add_argument("--shards", type=int, default=100)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        server = EmbeddedPostgres(Path(folder))
        database = Database(server.start())
        try:
            migrate.upgrade(database)
            clock = _Clock()
            context = Context(
                settings=Settings(),
                database=database,
                files=FolderStore(Path(folder) / "files"),
                dispatcher=_Silent(),
                clock=clock,
                tokenizer=lambda: None,
            )
            fill(context, options.batches, options.shards)
            first, again = plan_once(context), []
            for _ in range(options.runs):
                clock.moment += timedelta(minutes=1)
                again.append(plan_once(context))
        finally:
            database.close()
            server.stop()
    print(f"{options.batches} batches of {options.shards} shards over 168 hours")
    print(f"first plan, all shards written: {first:.2f} s")
    print(f"planned anew after a minute: best {min(again):.2f} s, median {statistics.median(again):.2f} s")
    print(f"the process held {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB at most")


if __name__ == "__main__":
    main()
