from __future__ import annotations

pytest_plugins = ["tests.support.clock", "tests.support.dispatcher", "tests.support.models", "tests.support.servers"]
