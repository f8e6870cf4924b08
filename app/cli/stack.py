"""The stack that a command talks to: one that runs, or one of its own for as long as it takes."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import STDOUT

import httpx
from rich.console import Console

from app.cli.client import Client
from app.domain.errors import ServiceUnavailable
from app.embedded import tether
from app.embedded.home import Home
from app.embedded.logs import last_lines, log_path, open_log
from app.settings import Settings

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 60.0
_PROBE_S = 0.2


@contextmanager
def connect(settings: Settings, console: Console) -> Iterator[Client]:
    """A client of SPROUT_API_URL, of the stack that runs on SPROUT_HOME, or of one started for this block.

    Raises:
        ServiceUnavailable: the stack does not start.
    """
    url = _address(settings)
    if url is not None:
        with Client(url, key=_key(settings)) as client:
            yield client
        return
    with _own_stack(Home(settings.home), console) as url, Client(url, key=_key(settings)) as client:
        yield client


@contextmanager
def running(settings: Settings) -> Iterator[Client]:
    """A client of SPROUT_API_URL, or of the stack that runs on SPROUT_HOME.

    Raises:
        ServiceUnavailable: there is none.
    """
    url = _address(settings)
    if url is None:
        raise ServiceUnavailable(
            f"No stack runs on {settings.home}: start one with `sprout up`, or set SPROUT_API_URL."
        )
    with Client(url, key=_key(settings)) as client:
        yield client


def _address(settings: Settings) -> str | None:
    if settings.api_url is not None:
        return settings.api_url
    stack = Home(settings.home).read_stack()
    return stack.urls["api_url"] if stack else None


def database_url(settings: Settings) -> str:
    """Of SPROUT_DATABASE_URL, or of the stack that runs on SPROUT_HOME.

    Raises:
        ServiceUnavailable: there is none.
    """
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    stack = Home(settings.home).read_stack()
    if stack is None or "database_url" not in stack.urls:
        raise ServiceUnavailable(
            f"No stack runs on {settings.home}: start one with `sprout up`, or set SPROUT_DATABASE_URL."
        )
    return stack.urls["database_url"]


def _key(settings: Settings) -> str | None:
    return settings.api_key.get_secret_value() if settings.api_key else None


@contextmanager
def _own_stack(home: Home, console: Console) -> Iterator[str]:
    console.print(
        f"Starting a stack on {home.path} for this run (`sprout up` keeps one running). Loading the model takes up to "
        "a minute.",
        highlight=False,
        soft_wrap=True,
    )
    environment = {"SPROUT_API_PORT": "0", "SPROUT_FLOWER_PORT": "0"} | dict(os.environ)
    log = log_path(home.path, "up")
    with open_log(home.path, "up") as output:
        process = tether.start(
            [sys.executable, "-m", "app.cli", "up"],
            signal_on_parent_death=signal.SIGTERM,
            env=environment,
            stdout=output,
            stderr=STDOUT,
        )
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not (url := _answering(home, process.pid)):
            if process.poll() is not None or time.monotonic() > deadline:
                raise ServiceUnavailable(f"The stack did not start. The end of {log}:\n{last_lines(log)}")
            time.sleep(_PROBE_S)
        yield url
    finally:
        # The work is done or kept: an impatient Ctrl-C must not turn an orderly stop into a hard one.
        previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
        console.print("Stopping the stack.")
        tether.stop(process, signal.SIGTERM, timeout_s=STOP_TIMEOUT_S)
        signal.signal(signal.SIGINT, previous)


def _answering(home: Home, pid: int) -> str | None:
    """The API's address once it answers."""
    stack = home.read_stack()
    if stack is None or stack.pid != pid:
        return None
    url = stack.urls["api_url"]
    try:
        return url if httpx.get(f"{url}/healthz", timeout=5.0, trust_env=False).status_code == 200 else None
    except httpx.TransportError:
        return None
