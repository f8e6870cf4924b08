"""What our private servers have in common: one process on one folder, ready once a real client gets an answer."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, ClassVar

from app.domain.errors import ServiceUnavailable
from app.embedded import locks, tether
from app.embedded.folders import make_passage
from app.embedded.logs import last_lines, log_path, open_log

_PROBE_EVERY_S = 0.03
_PREDECESSOR_WAIT_S = 10.0


class EmbeddedServer(ABC):
    """A server process that keeps its data in `home`; its URL stays the same over restarts of the same home.

    Start and spawn only from the main thread: see `app.embedded.tether`.
    """

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals]
    stop_timeout_s: ClassVar[float] = 20.0

    def __init__(self, home: Path) -> None:
        self.home = home.resolve()
        self.log = log_path(self.home, self.name)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process started last.

        Raises:
            ServiceUnavailable: there was none yet.
        """
        if self._process is None:
            raise ServiceUnavailable(f"{self.name} has not been started on {self.home}.")
        return self._process

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients connect, password included."""

    @abstractmethod
    def _launch(self, log: BinaryIO, lock: int) -> subprocess.Popen[bytes]:
        """Start the process, logging to `log` and holding the descriptor `lock` open."""

    @abstractmethod
    def _problem(self) -> str | None:
        """Why a real client does not get an answer yet; None when it does."""

    def spawn(self) -> subprocess.Popen[bytes]:
        """The running process, or else a new one, without waiting until it answers.

        Raises:
            ServiceUnavailable: it cannot be started, or an earlier one on this folder will not end.
        """
        if self._process is None or self._process.poll() is not None:
            try:
                make_passage(self.home)
                with open_log(self.home, self.name) as log, self._predecessor_gone() as lock:
                    self._process = self._launch(log, lock)
            except (OSError, subprocess.SubprocessError) as exc:
                raise ServiceUnavailable(f"{self.name} cannot be started on {self.home}: {exc}") from exc
        return self._process

    def start(self, *, timeout_s: float = 60.0) -> str:
        """Spawn, wait until a client gets an answer, and return the URL. Recovery after a crash is part of the wait.

        Raises:
            ServiceUnavailable: it did not start, ended, or did not answer in time; with the end of its log.
        """
        process = self.spawn()
        deadline = time.monotonic() + timeout_s
        try:
            while (problem := self._problem()) is not None:
                if process.poll() is not None:
                    raise self.failed(f"ended with status {process.returncode} instead of starting")
                if time.monotonic() >= deadline:
                    raise self.failed(f"did not answer within {timeout_s:g} s ({problem})")
                time.sleep(_PROBE_EVERY_S)
            return self.url
        except BaseException:  # Ctrl-C included
            self.stop()
            raise

    def stop(self) -> None:
        """End the process with its data safely on disk; returns once it is gone. Safe to call when nothing runs."""
        if self._process is not None:
            tether.stop(self._process, self.stop_signal, timeout_s=self.stop_timeout_s)

    def failed(self, what: str) -> ServiceUnavailable:
        """The error that says `what` the server did, with the end of its log."""
        return ServiceUnavailable(f"{self.name} {what}. Its log is {self.log} and ends with:\n{last_lines(self.log)}")

    @contextmanager
    def _predecessor_gone(self) -> Iterator[int]:
        """A lock that the server inherits: when we can have it, no process of an earlier one is left.

        Without it, a server that is still shutting down after its parent was killed would share its files with the
        next one, and remove that one's socket as its last act.
        """
        path = make_passage(self.home / "run") / f"{self.name}.lock"
        lock = locks.acquire(path, wait_s=_PREDECESSOR_WAIT_S)
        if lock is None:
            raise ServiceUnavailable(
                f"Another {self.name} still runs on {self.home}: stop it first, or use another folder."
            )
        try:
            yield lock
        finally:
            os.close(lock)
