"""Ends vLLM's processes when the worker that started them is gone, even if it was killed with SIGKILL.

vLLM loads `tie` as a plugin in each of its processes: the engine core watches its worker, and tensor-parallel
processes watch the core. It is a general plugin, and also a platform plugin that names no platform, because those come
first: before the core waits five minutes for word from a worker that may be dead.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time

PLUGIN = "sprout_lifeline"


def tie() -> None:
    """Kill this process as soon as the process that spawned it ends; no effect in a process that was not spawned.

    Calling it twice does no harm.
    """
    # Not prctl(PR_SET_PDEATHSIG): it fires when the spawning *thread* ends, misses a parent that is gone already, and
    # exists only on Linux. The parent's end of the pipe that `join` waits for is closed by the kernel, come what may.
    if multiprocessing.parent_process() is not None or "--multiprocessing-fork" in sys.orig_argv:
        threading.Thread(target=_follow_parent, name="lifeline", daemon=True).start()


def _follow_parent() -> None:
    while (parent := multiprocessing.parent_process()) is None:
        time.sleep(0.1)  # multiprocessing still unpickles what this process is to do, which loads the platform plugins
    parent.join()
    os.kill(os.getpid(), signal.SIGKILL)
