from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.support.clock", "tests.support.dispatcher", "tests.support.models", "tests.support.servers"]

# The same examples in every run, and no verdict on how fast a busy machine is.
settings.register_profile("sprout", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("sprout")

# vLLM's threads wait for each other in a busy loop, for minutes if another process has their core.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
