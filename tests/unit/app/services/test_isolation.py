from __future__ import annotations

import threading

from app.services.isolation import Isolation
from tests.support.waiting import eventually


class Runner(threading.Thread):
    """Holds a place until it is told to leave."""

    def __init__(self, isolation: Isolation, *, alone: bool) -> None:
        super().__init__(daemon=True)
        self.inside, self.leave = threading.Event(), threading.Event()
        self._isolation, self._alone = isolation, alone
        self.start()

    def run(self) -> None:
        with self._isolation.hold(alone=self._alone):
            self.inside.set()
            self.leave.wait()

    def end(self) -> None:
        self.leave.set()
        self.join(10)
        assert not self.is_alive()


def test_shards_run_side_by_side() -> None:
    isolation = Isolation()
    runners = [Runner(isolation, alone=False) for _ in range(3)]
    for runner in runners:
        assert runner.inside.wait(10)
    for runner in runners:
        runner.end()


def test_a_suspect_waits_for_the_others_and_goes_before_later_ones() -> None:
    isolation = Isolation()
    first = Runner(isolation, alone=False)
    assert first.inside.wait(10)
    suspect = Runner(isolation, alone=True)
    eventually(lambda: isolation._waiting_suspects == 1)
    later = Runner(isolation, alone=False)
    assert not suspect.inside.is_set()
    assert not later.inside.is_set()

    first.end()
    assert suspect.inside.wait(10)
    assert not later.inside.is_set()

    suspect.end()
    assert later.inside.wait(10)
    later.end()


def test_suspects_run_one_after_the_other() -> None:
    isolation = Isolation()
    runners = [Runner(isolation, alone=True) for _ in range(3)]
    for _ in runners:
        eventually(lambda: sum(runner.inside.is_set() and runner.is_alive() for runner in runners) == 1)
        next(runner for runner in runners if runner.inside.is_set() and runner.is_alive()).end()
    assert all(runner.inside.is_set() for runner in runners)


def test_an_error_inside_frees_the_place() -> None:
    isolation = Isolation()
    try:
        with isolation.hold(alone=True):
            raise RuntimeError
    except RuntimeError:
        pass
    runner = Runner(isolation, alone=True)
    assert runner.inside.wait(10)
    runner.end()
