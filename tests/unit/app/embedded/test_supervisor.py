from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.domain.errors import ServiceUnavailable
from app.embedded import tether
from app.embedded.supervisor import Child, Supervisor
from tests.support.waiting import eventually

Popen = subprocess.Popen[bytes]


class Program:
    """A shell script as a child; remembers every process it was."""

    def __init__(self, name: str, script: str) -> None:
        self.name = name
        self.script = script
        self.processes: list[Popen] = []

    def start(self) -> Popen:
        self.processes.append(tether.start(["sh", "-c", self.script], signal_on_parent_death=signal.SIGKILL))
        return self.processes[-1]

    def child(self, *, stop_timeout_s: float = 20.0) -> Child:
        return Child(
            name=self.name,
            start=self.start,
            stop_signal=signal.SIGTERM,
            stop_timeout_s=stop_timeout_s,
            log=Path(f"/logs/{self.name}.log"),
        )


@contextmanager
def meanwhile(play: Callable[[], None]) -> Iterator[None]:
    """Run `play` beside the supervisor, which is ended by a signal however `play` ends."""
    failures: list[BaseException] = []
    done = threading.Event()

    def act() -> None:
        try:
            play()
        except BaseException as exc:  # noqa: BLE001 - raised again in the main thread
            failures.append(exc)
        if not done.is_set():
            os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=act)
    previous = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # for a signal that comes before or after run()
    try:
        thread.start()
        yield
    finally:
        done.set()
        thread.join()
        signal.signal(signal.SIGTERM, previous)
    if failures:
        raise failures[0]


def listening(name: str, diary: Path) -> str:
    """A script that writes to `diary` when it is up and when it is told to stop."""
    return f"trap 'echo {name} stops >> {diary}; exit 0' TERM; echo {name} up >> {diary}; while :; do sleep 0.02; done"


def test_a_killed_child_is_started_again() -> None:
    sleeper, reports = Program("sleeper", "exec sleep 300"), list[str]()

    def play() -> None:
        eventually(lambda: sleeper.processes)
        sleeper.processes[0].kill()
        eventually(lambda: len(sleeper.processes) == 2)

    with meanwhile(play):
        Supervisor([sleeper.child()], report=reports.append).run()
    assert reports == [
        "sleeper was ended by SIGKILL. It is started again in 0.2 s. Its log is /logs/sleeper.log.",
    ]
    assert [process.returncode for process in sleeper.processes] == [-signal.SIGKILL, -signal.SIGTERM]


def test_a_crash_loop_is_reported_and_still_tried() -> None:
    broken, reports = Program("broken", "exit 3"), list[str]()

    def play() -> None:
        eventually(lambda: len(broken.processes) >= 7)

    with meanwhile(play):
        Supervisor([broken.child()], report=reports.append, monotonic=lambda: 25 * time.monotonic()).run()
    loop = (
        "broken ended with status 3. It keeps dying (5 times within 60 s): the next try is in 30 s. "
        "Its log is /logs/broken.log."
    )
    assert reports.count(loop) >= 2
    assert reports[0].startswith("broken ended with status 3. It is started again in 0.2 s.")


def test_a_child_that_cannot_be_started_again_is_tried_until_it_can() -> None:
    sleeper, reports = Program("sleeper", "exec sleep 300"), list[str]()
    refusals = iter([False, True, True, False])

    def start() -> Popen:
        if next(refusals):
            raise ServiceUnavailable("the disk is full")
        return sleeper.start()

    def play() -> None:
        eventually(lambda: sleeper.processes)
        sleeper.processes[0].kill()
        eventually(lambda: len(sleeper.processes) == 2)

    child = Child(name="sleeper", start=start, stop_signal=signal.SIGTERM, stop_timeout_s=20)
    with meanwhile(play):
        Supervisor([child], report=reports.append).run()
    assert reports[1:] == [
        "sleeper could not be started: the disk is full. It is started again in 0.4 s.",
        "sleeper could not be started: the disk is full. It is started again in 0.8 s.",
    ]


def test_children_stop_in_reverse_order(tmp_path: Path) -> None:
    diary = tmp_path / "diary"
    diary.touch()
    children = [Program(name, listening(name, diary)).child() for name in ("database", "broker", "worker")]

    def play() -> None:
        eventually(lambda: diary.read_text().count("up") == 3)

    reports: list[str] = []
    with meanwhile(play):
        Supervisor(children, report=reports.append).run()
    stops = [line for line in diary.read_text().splitlines() if "stops" in line]
    assert stops == ["worker stops", "broker stops", "database stops"]
    assert reports == []


def test_a_child_that_does_not_stop_in_time_is_killed(tmp_path: Path) -> None:
    diary = tmp_path / "diary"
    diary.touch()
    deaf = Program("deaf", f"trap '' TERM; echo up >> {diary}; while :; do sleep 0.02; done")
    reports: list[str] = []
    with meanwhile(lambda: eventually(diary.read_text)):
        Supervisor([deaf.child(stop_timeout_s=0.3)], report=reports.append).run()
    assert reports == ["deaf did not stop within 0.3 s and is killed."]
    assert deaf.processes[0].returncode == -signal.SIGKILL


def test_a_second_signal_kills_at_once(tmp_path: Path) -> None:
    diary = tmp_path / "diary"
    diary.touch()
    slow = Program("slow", f"trap 'echo asked >> {diary}' TERM; echo up >> {diary}; while :; do sleep 0.02; done")
    reports: list[str] = []

    def play() -> None:
        eventually(diary.read_text)
        os.kill(os.getpid(), signal.SIGINT)
        eventually(lambda: "asked" in diary.read_text())

    with meanwhile(play):
        Supervisor([slow.child(stop_timeout_s=600)], report=reports.append).run()
    assert reports == ["slow was still stopping and is killed."]
    assert slow.processes[0].returncode == -signal.SIGKILL


def test_a_first_start_that_fails_stops_the_others_and_is_raised() -> None:
    sleeper = Program("sleeper", "exec sleep 300")

    def fail() -> Popen:
        raise ServiceUnavailable("not installed")

    broken = Child(name="broken", start=fail, stop_signal=signal.SIGTERM, stop_timeout_s=20)
    with pytest.raises(ServiceUnavailable, match="not installed"):
        Supervisor([sleeper.child(), broken], report=lambda _: None).run()
    assert sleeper.processes[0].returncode == -signal.SIGTERM


def test_the_signal_handlers_of_before_come_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(OSError, match="No such file"):
        Supervisor(
            [
                Child(
                    name="missing",
                    start=lambda: tether.start(["/nonexistent/program"], signal_on_parent_death=signal.SIGKILL),
                    stop_signal=signal.SIGTERM,
                    stop_timeout_s=1,
                )
            ],
            report=lambda _: None,
        ).run()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
