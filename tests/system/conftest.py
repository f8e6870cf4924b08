from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.embedded import temporary_home
from tests.support.openai_server import OpenAIServer
from tests.support.stack import RunningStack, lend_model


@pytest.fixture(scope="session")
def vllm_stack(bundled_model: Path) -> Iterator[RunningStack]:
    """The real thing: vLLM with the bundled model."""
    with temporary_home() as home:
        lend_model(home, bundled_model)
        with RunningStack(home, {}) as stack:
            yield stack


@pytest.fixture
def engine_server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as server:
        yield server


@pytest.fixture
def remote_stack(engine_server: OpenAIServer) -> Iterator[RunningStack]:
    """A stack whose engine is a scripted OpenAI server: it is up in seconds and its answers are known."""
    with temporary_home() as home:
        settings = {
            "SPROUT_ENGINE": "openai",
            "SPROUT_ENGINE_URL": engine_server.url,
            "SPROUT_MODEL_NAME": "echo",
            "SPROUT_REQUEST_TIMEOUT_S": "5",
            "SPROUT_LEASE_S": "4",
            "SPROUT_SHARD_SIZE": "8",
        }
        with RunningStack(home, settings) as stack:
            yield stack
