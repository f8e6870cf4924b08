"""Advisory locks on files. The kernel lets go of one when the last process that holds its descriptor ends."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

_RETRY_S = 0.02


def acquire(path: Path, *, wait_s: float) -> int | None:
    """Lock `path` exclusively and return the descriptor that holds the lock; None if another has it after `wait_s`.

    The descriptor is close-on-exec: a child holds the lock too only if it is handed over on purpose.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(descriptor)
                return None
            time.sleep(_RETRY_S)
        else:
            return descriptor


def is_held(path: Path) -> bool:
    """Whether somebody, we included, holds the exclusive lock on `path`."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
