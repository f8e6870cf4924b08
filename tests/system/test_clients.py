"""Client libraries as they are against a running stack, each with a suite of its own, all at once.

`make install` installs those that this project itself does not use.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.embedded import temporary_home
from tests.support.openai_server import OpenAIServer
from tests.support.stack import RunningStack

ROOT = Path(__file__).parents[2]
SUITES = ROOT / "tests/clients"
OTHERS = ROOT / ".venv-clients/bin/python"
NODE = shutil.which("node")

COMMANDS = {
    "openai": [sys.executable, SUITES / "python_suite.py"],
    "openai, a major version back": [OTHERS, SUITES / "python_suite.py"],
    "litellm": [OTHERS, SUITES / "litellm_suite.py"],
    "openai of npm": [NODE, SUITES / "suite.mjs"],
}


def _missing(name: str) -> str:
    """Why a suite cannot be run here; empty if it can."""
    if name == "openai of npm" and not (NODE and (SUITES / "node_modules/openai").is_dir()):
        return "there is no Node.js with the client: install Node.js 20 or newer, and run `make install`"
    if COMMANDS[name][0] == OTHERS and not OTHERS.exists():
        return f"{OTHERS.parents[1].name} is absent: run `make install`"
    return ""


@pytest.fixture(scope="module")
def outcomes() -> Iterator[dict[str, tuple[int, str]]]:
    """Exit status and output of each suite that can be run."""
    with OpenAIServer() as engine, temporary_home() as home:
        settings = {
            "SPROUT_ENGINE": "openai",
            "SPROUT_ENGINE_URL": engine.url,
            "SPROUT_MODEL_NAME": "echo",
            "SPROUT_SHARD_SIZE": "8",
            # Those who hang are to be cancelled.
            "SPROUT_REQUEST_TIMEOUT_S": "120",
            "SPROUT_WEBHOOK_PRIVATE": "true",
        }
        with RunningStack(home, settings) as stack:
            environment = {**os.environ, "NO_PROXY": "127.0.0.1", "LITELLM_LOCAL_MODEL_COST_MAP": "true"}
            running = {
                name: subprocess.Popen(
                    [*map(str, command), stack.api_url],
                    env=environment,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
                for name, command in COMMANDS.items()
                if not _missing(name)
            }
            try:
                said = {name: process.communicate(timeout=120)[0] for name, process in running.items()}
            finally:
                for process in running.values():
                    process.kill()
                    process.wait()
            yield {name: (running[name].returncode, said[name]) for name in said}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_client_works_as_it_is(name: str, outcomes: dict[str, tuple[int, str]]) -> None:
    if missing := _missing(name):
        pytest.skip(missing)
    status, output = outcomes[name]
    assert status == 0, output
    assert output.strip().endswith("passed")
