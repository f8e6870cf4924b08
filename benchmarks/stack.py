"""What benchmarks of a whole installation share: a stack as a user starts it, and the memory of its processes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from app.cli.client import Client
from app.embedded.home import Home

ROOT = Path(__file__).parents[1]
START_S = 300.0
PROBE_S = 0.1
MIB = 2**20

QUIET = {
    "SPROUT_API_PORT": "0",
    "SPROUT_FLOWER_PORT": "0",
    "SPROUT_PERIOD_S": "3600",
    "SPROUT_MAX_FILE_BYTES": str(4 * 10**9),
    "SPROUT_MAX_REQUESTS": str(10**7),
}
"""Everything embedded, on free ports, and room for large batches."""


def environment(home: Path, settings: Mapping[str, str]) -> dict[str, str]:
    """Without the SPROUT_ variables of whoever runs the benchmark; benchmarks' engines can be imported."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SPROUT_")}
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**kept, "PYTHONPATH": path, **QUIET, **settings, "SPROUT_HOME": str(home)}


@contextmanager
def stack(home: Path, settings: Mapping[str, str]) -> Iterator[tuple[psutil.Process, Client]]:
    """`sprout up` on `home`, and a client of it, from when its worker has its engine; all has stopped afterwards."""
    home.mkdir(parents=True, exist_ok=True)
    log = home / "up.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "up"],
            cwd=ROOT,
            env=environment(home, settings),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        worker = home / "logs" / "generator.log"
        await_ready(process, worker, log)
        found = Home(home).read_stack()
        assert found is not None
        with Client(found.urls["api_url"], key=None) as client:
            yield psutil.Process(process.pid), client
    finally:
        process.terminate()
        process.wait(timeout=60)


def await_ready(process: subprocess.Popen[bytes], worker: Path, log: Path) -> None:
    """Wait until the log `worker` says that the worker takes work. Exits with the log of `process` if it ends."""
    deadline = time.monotonic() + START_S
    while not (worker.exists() and " ready." in worker.read_text(errors="replace")):
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"It did not start:\n{log.read_text(errors='replace')}")
        time.sleep(PROBE_S)


class Watch:
    """`with Watch(process) as seen:` most memory and CPU seconds of everything below `process`, by what it is."""

    def __init__(self, root: psutil.Process) -> None:
        self._root = root
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.peak_mib: dict[str, float] = {}
        """Unique set size: what would be free again if the process ended. Shared memory of PostgreSQL is not in it."""
        self.cpu_s: dict[str, float] = {}

    def __enter__(self) -> Watch:
        self._before = self._cpu()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        after = self._cpu()
        for (_, name), seconds in after.items():
            self.cpu_s[name] = self.cpu_s.get(name, 0.0) + seconds
        for (pid, name), seconds in self._before.items():
            if (pid, name) in after:
                self.cpu_s[name] -= seconds

    def _look(self) -> None:
        while not self._ended.wait(PROBE_S):
            for child in self._root.children(recursive=True):
                try:
                    name, used = part_of(child), child.memory_full_info().uss / MIB
                except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
                    continue
                self.peak_mib[name] = max(self.peak_mib.get(name, 0.0), used)

    def _cpu(self) -> dict[tuple[int, str], float]:
        found = {}
        for child in self._root.children(recursive=True):
            try:
                found[child.pid, part_of(child)] = sum(child.cpu_times()[:2])
            except psutil.NoSuchProcess:
                continue
        return found


def part_of(process: psutil.Process) -> str:
    """What a process of the stack is."""
    command = " ".join(process.cmdline())
    marks = ("--hostname=scheduler", "--hostname=generator", "uvicorn", "beat", "flower", "valkey")
    names = ("scheduler", "generator", "api", "beat", "flower", "valkey")
    for mark, name in zip(marks, names, strict=True):
        if mark in command:
            return name
    return "postgres" if "postgres" in command else "other"
