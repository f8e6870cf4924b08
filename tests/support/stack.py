"""A whole stack, started as a user starts it: `sprout up` in a process of its own on a folder of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import httpx
import psutil

from app.embedded.home import Home, Stack
from tests.support.waiting import eventually

FAST = {
    "SPROUT_API_PORT": "0",
    "SPROUT_FLOWER_PORT": "0",
    "SPROUT_PERIOD_S": "2",
    "SPROUT_TICK_S": "1",
    "SPROUT_LEASE_S": "10",
    "SPROUT_RESEND_S": "5",
    "SPROUT_PRIOR": "paper",
}
"""Settings under which things happen within seconds."""


def clean_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """The environment without the developer's own SPROUT_ variables."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SPROUT_")} | dict(settings)


class RunningStack:
    """`with RunningStack(home, settings) as stack:` waits until the API answers; afterwards nothing may be left."""

    def __init__(self, home: Path, settings: Mapping[str, str]) -> None:
        self.home = home
        self.environment = clean_environment({**FAST, **settings, "SPROUT_HOME": str(home)})
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "up"],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        eventually(self._answers, within_s=60)

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"sprout up ended: {self.process.communicate()[0]}"
        found = Home(self.home).read_stack()
        if found is None or found.pid != self.process.pid:
            return False
        try:
            return httpx.get(f"{found.urls['api_url']}/healthz", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def stop(self, stop_signal: signal.Signals = signal.SIGTERM) -> str:
        """Ask it to end and wait; what it printed."""
        assert self.process is not None
        self.process.send_signal(stop_signal)
        return self.process.communicate(timeout=60)[0]

    @property
    def published(self) -> Stack:
        found = Home(self.home).read_stack()
        assert found is not None
        return found

    @property
    def api_url(self) -> str:
        return self.published.urls["api_url"]

    def processes(self) -> list[psutil.Process]:
        """Everything that runs below `sprout up`."""
        assert self.process is not None
        return psutil.Process(self.process.pid).children(recursive=True)

    def pid(self, mark: str) -> int | None:
        """The direct child of `sprout up` whose command line contains `mark`; None while there is none."""
        assert self.process is not None
        for child in psutil.Process(self.process.pid).children():
            try:
                if mark in " ".join(child.cmdline()):
                    return child.pid
            except psutil.NoSuchProcess:
                continue
        return None

    def sprout(self, *arguments: str | Path, timeout_s: float = 240) -> subprocess.CompletedProcess[str]:
        """Run a `sprout` command against this stack."""
        return sprout(arguments, self.environment, timeout_s=timeout_s)

    def logs(self, name: str) -> str:
        return (self.home / "logs" / f"{name}.log").read_text(errors="replace")


def sprout(
    arguments: Sequence[str | Path], environment: Mapping[str, str], *, timeout_s: float = 240
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app.cli", *map(str, arguments)],
        env=dict(environment),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def lend_model(home: Path, bundled_model: Path) -> None:
    """Put the prepared model into `home`, so that the stack need not prepare it again."""
    target = Home(home).models / bundled_model.name
    shutil.copytree(bundled_model, target, copy_function=_link)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)
