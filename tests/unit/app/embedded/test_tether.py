from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from app.embedded import tether
from tests.support.embedded import gone
from tests.support.waiting import eventually

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a child another user")


def parent_of_a_sleeper(user: str | None = None) -> tuple[subprocess.Popen[str], int]:
    """A process that started `sleep`, tethered, and the sleeper's id."""
    account = f"pwd.getpwnam({user!r})" if user else "None"
    script = f"""
        import pwd, signal
        from app.embedded import tether
        child = tether.start(["sleep", "300"], signal_on_parent_death=signal.SIGTERM, cwd=None, user={account})
        print(child.pid, flush=True)
        signal.pause()
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    return parent, int(parent.stdout.readline())


@pytest.mark.parametrize("user", [None, pytest.param("nobody", marks=needs_root)])
def test_a_child_ends_when_its_parent_is_killed(user: str | None) -> None:
    parent, sleeper = parent_of_a_sleeper(user)
    with parent:
        assert not gone(sleeper)
        parent.kill()
    eventually(lambda: gone(sleeper))


@needs_root
def test_a_child_of_another_user_has_nothing_of_root(tmp_path: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    child = tether.start(
        ["sh", "-c", "id -u; id -g; id -G"],
        signal_on_parent_death=signal.SIGKILL,
        user=nobody,
        stdout=subprocess.PIPE,
    )
    output, _ = child.communicate(timeout=20)
    assert output.split() == [str(nobody.pw_uid).encode(), str(nobody.pw_gid).encode(), str(nobody.pw_gid).encode()]


def test_a_child_is_out_of_reach_of_the_terminal() -> None:
    child = tether.start(["sleep", "300"], signal_on_parent_death=signal.SIGKILL)
    assert os.getsid(child.pid) == child.pid
    tether.stop(child, signal.SIGTERM, timeout_s=20)
    assert child.returncode == -signal.SIGTERM


def test_a_missing_program_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        tether.start(["/nonexistent/program"], signal_on_parent_death=signal.SIGKILL)


def test_stop_kills_what_does_not_listen() -> None:
    child = tether.start(
        ["sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.05; done"],
        signal_on_parent_death=signal.SIGKILL,
        stdout=subprocess.PIPE,
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"deaf\n"
        started = time.monotonic()
        tether.stop(child, signal.SIGTERM, timeout_s=0.2)
    assert child.returncode == -signal.SIGKILL
    assert time.monotonic() - started >= 0.2


def test_stopping_twice_is_harmless() -> None:
    child = tether.start(["true"], signal_on_parent_death=signal.SIGKILL)
    tether.stop(child, signal.SIGTERM, timeout_s=20)
    tether.stop(child, signal.SIGTERM, timeout_s=20)
    assert child.returncode is not None
