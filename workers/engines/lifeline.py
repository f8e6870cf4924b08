"""Ends vLLM's processes when the worker that started them is gone, even if it was killed with SIGKILL.

vLLM loads `tie` in each of its processes as a plugin (entry point group `vllm.general_plugins`): the engine core
watches its worker, and tensor-parallel processes watch the core.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading

PLUGIN = "sprout_lifeline"


def tie() -> None:
    """Kill this process as soon as the process that spawned it ends; no effect in a process that was not spawned."""
    # Not prctl(PR_SET_PDEATHSIG): it fires when the spawning *thread* ends, misses a parent that is gone already, and
    # exists only on Linux. The parent's end of this pipe is closed by the kernel, whatever ended the parent.
    if multiprocessing.parent_process() is not None:
        threading.Thread(target=_follow_parent, name="lifeline", daemon=True).start()


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGKILL)
