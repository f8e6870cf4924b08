"""The engine core is a process of its own: it never outlives its worker, and its death is noticed at once.

Each test runs a worker of its own as a child, because its subject is how that process ends.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.waiting import eventually

pytestmark = pytest.mark.model

# The engine is built on a thread, as in a Celery worker with `-P threads`: it can set no signal handlers there.
WORKER = """
import multiprocessing, sys, threading
import psutil
from app.domain.completion import EngineRequest
from app.domain.errors import EngineFailed
from workers.engines.vllm import VllmEngine

def say(*words):
    print(*words, flush=True)

def endless(key):
    message = {"role": "user", "content": "Count on and on"}
    body = {"model": "m", "messages": [message], "max_tokens": 1900, "ignore_eos": True}
    return EngineRequest(key=key, endpoint="/v1/chat/completions", body=body)

def generate(engine):
    for group in engine.generate([endless(str(i)) for i in range(4)], timeout_s=600, wait_s=0.2):
        say("running", *(p.pid for p in multiprocessing.active_children() if "EngineCore" in p.name))

def work():
    engine = VllmEngine(
        sys.argv[1], served_model_name="m", dtype="bfloat16", max_model_len=2048, max_num_seqs=8, kv_cache_gb=1
    )
    if sys.argv[2] == "serve":
        try:
            generate(engine)
        except EngineFailed as exc:
            say("failed", exc)
        try:
            generate(engine)
        except EngineFailed as exc:
            say("failed again", exc)
    say("closing")
    print("closing", file=sys.stderr, flush=True)
    engine.close()
    multiprocessing.active_children()  # collects those that have ended: psutil cannot read what a zombie was
    say("children", *(" ".join(p.cmdline()) for p in psutil.Process().children()))

thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


class Worker:
    """A child process that runs `WORKER`."""

    def __init__(self, model: Path, mode: str, folder: Path) -> None:
        self.log = folder / "stderr"
        with self.log.open("w") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-c", WORKER, model, mode], stdout=subprocess.PIPE, stderr=stderr, text=True
            )

    def line(self, start: str) -> str:
        """The next line of its output that starts so."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(start):
                return line.strip()
        pytest.fail(f"the worker ended without saying {start!r}:\n{self.log.read_text()}")

    def core(self) -> psutil.Process:
        """Its engine core, in the middle of generating."""
        return psutil.Process(int(self.line("running ").split()[1]))


def alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


@pytest.fixture
def start(bundled_model: Path, tmp_path: Path) -> Iterator[Callable[[str], Worker]]:
    started: list[Worker] = []

    def begin(mode: str) -> Worker:
        started.append(Worker(bundled_model, mode, tmp_path))
        return started[-1]

    yield begin
    for worker in started:
        worker.process.kill()
        worker.process.communicate()


@pytest.mark.long
def test_the_core_is_gone_within_seconds_of_a_worker_that_was_killed(start: Callable[[str], Worker]) -> None:
    worker = start("serve")
    core = worker.core()
    family = [core, *core.children(recursive=True)]
    worker.process.send_signal(signal.SIGKILL)
    worker.process.wait()
    try:
        eventually(lambda: not any(alive(process) for process in family), within_s=5)
    finally:
        for process in filter(alive, family):
            process.kill()


@pytest.mark.long
def test_a_core_that_is_killed_fails_what_is_in_flight_and_what_comes_later(start: Callable[[str], Worker]) -> None:
    worker = start("serve")
    worker.core().kill()
    killed = time.monotonic()
    assert "has died" in worker.line("failed")
    assert time.monotonic() - killed < 5
    assert "has died" in worker.line("failed again")
    worker.line("children")
    assert worker.process.wait(timeout=30) == 0


@pytest.mark.long
def test_a_clean_end_leaves_no_process_and_no_warning(start: Callable[[str], Worker]) -> None:
    worker = start("close")
    left = worker.line("children")
    assert "EngineCore" not in left
    assert "spawn_main" not in left
    assert worker.process.wait(timeout=30) == 0
    said = worker.log.read_text().split("closing\n", 1)[1]
    assert not [word for word in ("Warning", "Traceback", "Exception", "leaked", "ERROR") if word in said], said
