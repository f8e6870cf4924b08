"""A second host: a worker that is given the two URLs, its zone and its model, and nothing else of the installation."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.embedded.valkey import EmbeddedValkey
from tests.support.embedded import temporary_home
from tests.support.lines import line, read_lines, write_lines
from tests.support.openai_server import OpenAIServer
from tests.support.stack import RunningStack, clean_environment
from tests.support.waiting import eventually

OTHER = "org/other"


@pytest.fixture
def stack(engine_server: OpenAIServer) -> Iterator[RunningStack]:
    settings = {
        "SPROUT_ENGINE": "openai",
        "SPROUT_ENGINE_URL": engine_server.url,
        "SPROUT_MODEL_NAME": "echo",
        "SPROUT_ZONES": '["GB", "FR"]',
        "SPROUT_SHARD_SIZE": "5",
    }
    with temporary_home() as home, RunningStack(home, settings) as running:
        yield running


@contextmanager
def another_host(stack: RunningStack, engine_url: str, folder: Path) -> Iterator[None]:
    """A worker in an empty folder that knows nothing of the stack but its two servers."""
    environment = clean_environment(
        {
            "HOME": str(folder),
            "SPROUT_DATABASE_URL": stack.published.urls["database_url"],
            "SPROUT_BROKER_URL": EmbeddedValkey(stack.home).url,
            "SPROUT_ENGINE": "openai",
            "SPROUT_ENGINE_URL": engine_url,
            "SPROUT_MODEL_NAME": OTHER,
        }
    )
    command = [sys.executable, "-m", "app.cli", "worker", "--queues", "generate", "--zone", "FR", "--name", "second"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield
        finally:
            process.terminate()
            assert process.wait(timeout=30) == 0, (folder / "log").read_text()


def test_a_worker_elsewhere_joins_and_serves_what_waited_for_it(stack: RunningStack, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "in.jsonl", [line(f"r{n}", f"say {n}", model=OTHER) for n in range(12)])
    with (
        OpenAIServer() as elsewhere,
        httpx.Client(base_url=stack.api_url, trust_env=False) as http,
    ):
        batch_id = submit(http, source, sprout_zones="FR")
        eventually(lambda: state(http, batch_id)["sprout"]["waits_for_worker"], within_s=30)
        assert f"No worker serves the model {OTHER}" in state(http, batch_id)["sprout"]["reason"]
        folder = tmp_path / "second"
        folder.mkdir()
        with another_host(stack, elsewhere.url, folder):
            own_id = submit(http, write_lines(tmp_path / "own.jsonl", [line("own", "hello", model="echo")]))
            for each in (batch_id, own_id):
                eventually(lambda each=each: state(http, each)["status"] == "completed", within_s=60)
            served = [model["id"] for model in http.get("/v1/models").json()["data"]]
        assert served == ["echo", OTHER]
        assert {body["model"] for body in elsewhere.requests} == {OTHER}
        assert len(elsewhere.requests) == 12
        answers = output(http, batch_id, tmp_path)
        assert {answer["sprout"]["zone"] for answer in answers} == {"FR"}
        assert {answer["sprout"]["zone"] for answer in output(http, own_id, tmp_path)} == {"GB"}


def submit(http: httpx.Client, source: Path, **metadata: str) -> str:
    with source.open("rb") as file:
        uploaded = http.post("/v1/files", data={"purpose": "batch"}, files={"file": ("in.jsonl", file)})
    body = {
        "input_file_id": uploaded.raise_for_status().json()["id"],
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "metadata": metadata,
    }
    return str(http.post("/v1/batches", json=body).raise_for_status().json()["id"])


def state(http: httpx.Client, batch_id: str) -> dict[str, Any]:
    found: dict[str, Any] = http.get(f"/v1/batches/{batch_id}").raise_for_status().json()
    return found


def output(http: httpx.Client, batch_id: str, folder: Path) -> list[dict[str, Any]]:
    file_id = state(http, batch_id)["output_file_id"]
    target = folder / f"{batch_id}.jsonl"
    target.write_bytes(http.get(f"/v1/files/{file_id}/content").raise_for_status().content)
    return read_lines(target)
