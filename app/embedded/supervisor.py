"""Keeps the processes of `sprout up` alive and stops them in order.

Everything, starting children included, happens in the main thread, because a child is tied to the thread that
started it. Signal handlers only count and write to a pipe: waiting for a child inside one deadlocks.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from app.domain.errors import SproutError
from app.embedded.backoff import LOOP_DEATHS, LOOP_WINDOW_S, Backoff

_LOOK_EVERY_S = 0.1


@dataclass(frozen=True, kw_only=True)
class Child:
    """One process to keep alive.

    `start` returns at once with a new process, or with the running one if there already is one.
    """

    name: str
    start: Callable[[], subprocess.Popen[bytes]]
    stop_signal: signal.Signals
    stop_timeout_s: float
    url: str | None = None
    log: Path | None = None


class Supervisor:
    """Starts `children` in order, restarts what dies, stops them in reverse order on SIGINT or SIGTERM.

    `report` gets one sentence for each thing an operator should know. `monotonic` counts seconds.
    """

    def __init__(
        self,
        children: Sequence[Child],
        *,
        report: Callable[[str], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lives = [_Life(child, report, monotonic) for child in children]
        self._report = report
        self._monotonic = monotonic
        self._signals = 0
        self._wake_reader, self._wake_writer = -1, -1

    def run(self) -> None:
        """Block until SIGINT or SIGTERM has stopped every child. Call it from the main thread.

        A second signal while stopping kills what is left.

        Raises:
            SproutError: a child could not even be started the first time; those started before it are stopped.
            OSError: the same, its program cannot be executed.
        """
        with self._signals_caught():
            try:
                for life in self._lives:
                    if not self._signals:
                        life.begin()
                while not self._signals:
                    for life in self._lives:
                        life.keep()
                    self._pause()
            finally:
                self._stop_all()

    @contextmanager
    def _signals_caught(self) -> Iterator[None]:
        self._signals = 0
        self._wake_reader, self._wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        previous = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
            os.close(self._wake_reader)
            os.close(self._wake_writer)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._signals += 1
        os.write(self._wake_writer, b"\0")

    def _pause(self) -> None:
        """Sleep a moment; a signal ends it early."""
        if select.select([self._wake_reader], [], [], _LOOK_EVERY_S)[0]:
            os.read(self._wake_reader, 1)

    def _stop_all(self) -> None:
        patience = min(self._signals, 1)  # the signal that made us stop, unless it was an error
        for life in reversed(self._lives):
            self._stop(life, patience)

    def _stop(self, life: _Life, patience: int) -> None:
        """Stop one child; more than `patience` signals so far mean that nobody wants to wait any more."""
        process, child = life.process, life.child
        if process is None:
            return
        deadline = self._monotonic() + child.stop_timeout_s
        process.send_signal(child.stop_signal)
        while process.poll() is None:
            late = self._monotonic() >= deadline
            if late or self._signals > patience:
                why = f"did not stop within {child.stop_timeout_s:g} s" if late else "was still stopping"
                self._report(f"{child.name} {why} and is killed.")
                process.kill()
                process.wait()
            else:
                self._pause()


class _Life:
    """One child over its restarts."""

    def __init__(self, child: Child, report: Callable[[str], None], monotonic: Callable[[], float]) -> None:
        self.child = child
        self.process: subprocess.Popen[bytes] | None = None
        self._report = report
        self._monotonic = monotonic
        self._backoff = Backoff()
        self._started_at = 0.0
        self._restart_at = 0.0

    def begin(self) -> None:
        self._started_at = self._monotonic()
        self.process = self.child.start()

    def keep(self) -> None:
        """Look after the child once: note its death, or start it again when its time has come."""
        if self.process is not None:
            if (status := self.process.poll()) is not None:
                self.process = None
                self._died(_ending(status))
        elif self._monotonic() >= self._restart_at:
            try:
                self.begin()
            except (SproutError, OSError, subprocess.SubprocessError) as exc:
                self._died(f"could not be started: {exc}")

    def _died(self, how: str) -> None:
        now = self._monotonic()
        delay_s = self._backoff.died(started_at=self._started_at, now=now)
        self._restart_at = now + delay_s
        log = f" Its log is {self.child.log}." if self.child.log else ""
        if self._backoff.crash_loop:
            loop = f"It keeps dying ({LOOP_DEATHS} times within {LOOP_WINDOW_S:g} s)"
            self._report(f"{self.child.name} {how}. {loop}: the next try is in {delay_s:g} s.{log}")
        else:
            self._report(f"{self.child.name} {how}. It is started again in {delay_s:g} s.{log}")


def _ending(status: int) -> str:
    return f"ended with status {status}" if status >= 0 else f"was ended by {signal.Signals(-status).name}"
