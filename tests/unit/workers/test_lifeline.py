from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from tests.support.waiting import eventually
from workers.engines.lifeline import tie

# As vLLM loads its general plugins: when the child is already at work.
AT_WORK = ("exec", "'from workers.engines.lifeline import tie; tie(); import time; time.sleep(600)'")
# As vLLM loads its platform plugins: while multiprocessing still unpickles what the child is to do.
ON_ARRIVAL = ("time.sleep", "TiedOnArrival(600)")

PARENT = """
import multiprocessing, time
from tests.unit.workers.test_lifeline import TiedOnArrival
child = multiprocessing.get_context("spawn").Process(target={target}, args=({argument},))
child.start()
print(child.pid, flush=True)
child.join()
"""


class TiedOnArrival(int):
    """A number that ties the process in which it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return tie_and_give, (int(self),)


def tie_and_give(value: int) -> int:
    tie()
    return value


@pytest.fixture(params=[AT_WORK, ON_ARRIVAL], ids=["at work", "on arrival"])
def parent(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    target, argument = request.param
    script = PARENT.format(target=target, argument=argument)
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.communicate()


def tied_child(parent: subprocess.Popen[str]) -> psutil.Process:
    """The child, once its lifeline thread runs."""
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    eventually(lambda: child.num_threads() > 1)
    return child


def alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_a_tied_process_ends_with_a_parent_that_is_killed(parent: subprocess.Popen[str]) -> None:
    child = tied_child(parent)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    eventually(lambda: not alive(child), within_s=5)


def test_a_tied_process_lives_as_long_as_its_parent(parent: subprocess.Popen[str]) -> None:
    child = tied_child(parent)
    started = time.monotonic()
    eventually(lambda: time.monotonic() - started > 0.5)
    assert alive(child)
    child.kill()
    assert parent.wait(timeout=10) == 0


def test_the_process_that_starts_the_engine_is_not_tied() -> None:
    """Its own parent may be a shell that ends before it."""
    before = psutil.Process().num_threads()
    tie()
    assert psutil.Process().num_threads() == before
