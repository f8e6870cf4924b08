"""A child process whose life is tied to ours: however we end, kill -9 included, it is told to end too (Linux).

The kernel ties the signal to the *thread* that started the child, not to the process. Start children only from a
thread that lives as long as the process, which in practice is the main thread: from a short-lived thread the child
would be told to end as soon as that thread does.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def start(
    command: Sequence[str | Path],
    *,
    signal_on_parent_death: signal.Signals,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    user: pwd.struct_passwd | None = None,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] | None = None,
    pass_fds: Sequence[int] = (),
    new_session: bool = True,
) -> subprocess.Popen[bytes]:
    """Start `command`; the kernel sends it `signal_on_parent_death` once the calling thread or process is gone.

    `user` drops root for that account, with its own group and no others. A new session keeps the terminal's Ctrl-C
    away from the child, so that we decide in which order children stop.

    Raises:
        OSError: the program cannot be executed.
    """
    return subprocess.Popen(
        command,
        cwd=cwd,
        env=env,
        user=user.pw_uid if user else None,
        group=user.pw_gid if user else None,
        extra_groups=[] if user else None,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        pass_fds=pass_fds,
        start_new_session=new_session,
        preexec_fn=_tie(os.getpid(), signal_on_parent_death),
    )


def _tie(parent: int, signal_on_parent_death: signal.Signals) -> Callable[[], None]:
    """What the child does before it becomes the program."""

    def tie() -> None:
        # CPython runs this after setuid, which matters: changing the user clears the setting.
        if _libc.prctl(_PR_SET_PDEATHSIG, int(signal_on_parent_death), 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
        if os.getppid() != parent:  # it died before the line above: the kernel will not tell us any more
            os.kill(os.getpid(), signal.SIGKILL)

    return tie


def stop(process: subprocess.Popen[bytes], stop_signal: signal.Signals, *, timeout_s: float) -> None:
    """Ask `process` to end with `stop_signal`, kill it after `timeout_s`, and return once it is gone.

    Never call this from a signal handler: waiting there deadlocks with a wait that the handler interrupted.
    """
    process.send_signal(stop_signal)
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
