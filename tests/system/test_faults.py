"""Killing what a batch runs on, in the middle of it."""

from __future__ import annotations

import os
import random
import signal
import threading
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from sqlalchemy import text

from app.store.database import Database
from tests.support.embedded import gone
from tests.support.engine import RUNS_VARIABLE
from tests.support.lines import gsm8k_questions, line, read_lines, write_lines
from tests.support.openai_server import OpenAIServer, prompt_of
from tests.support.stack import RunningStack
from tests.support.waiting import eventually

GENERATOR, VALKEY = "--hostname=generator@", "valkey-server"
NUMBER = 150
"""Of requests: more than the engine runs at once."""


def start_batch(stack: RunningStack, source: Path, **metadata: str) -> str:
    with httpx.Client(base_url=stack.api_url, trust_env=False) as http, source.open("rb") as file:
        uploaded = http.post("/v1/files", data={"purpose": "batch"}, files={"file": ("in.jsonl", file)}).json()
        body = {
            "input_file_id": uploaded["id"],
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            "metadata": metadata,
        }
        return str(http.post("/v1/batches", json=body).raise_for_status().json()["id"])


def state(stack: RunningStack, batch_id: str) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{stack.api_url}/v1/batches/{batch_id}", trust_env=False).json()
    return found


def answered(stack: RunningStack, batch_id: str) -> int:
    return int(state(stack, batch_id)["request_counts"]["completed"])


def download(stack: RunningStack, file_id: str, target: Path) -> list[dict[str, Any]]:
    target.write_bytes(httpx.get(f"{stack.api_url}/v1/files/{file_id}/content", trust_env=False).content)
    return read_lines(target)


def below(stack: RunningStack, mark: str) -> list[int]:
    """The processes below the child with `mark`; none while there is no such child."""
    try:
        pid = stack.pid(mark)
        return [process.pid for process in psutil.Process(pid).children(recursive=True)] if pid else []
    except psutil.NoSuchProcess:
        return []


def engine_core(stack: RunningStack) -> bool:
    """Whether the generator's engine core runs; a worker that is only starting has other, passing children."""
    try:
        return any("EngineCore" in " ".join(psutil.Process(pid).cmdline()) for pid in below(stack, GENERATOR))
    except psutil.NoSuchProcess:
        return False


def kill(stack: RunningStack, mark: str) -> list[int]:
    """Kill the child with `mark` with -9; the processes that were below it."""
    pid = stack.pid(mark)
    assert pid is not None
    orphans = below(stack, mark)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: gone(pid))
    return orphans


@pytest.mark.model
@pytest.mark.long
@pytest.mark.timeout(420)
def test_a_batch_survives_killed_workers_and_a_killed_broker(vllm_stack: RunningStack, tmp_path: Path) -> None:
    questions = gsm8k_questions(NUMBER)
    lines = [line(f"gsm-{number}", question, max_tokens=32) for number, question in enumerate(questions)]
    batch_id = start_batch(vllm_stack, write_lines(tmp_path / "in.jsonl", lines))

    for killed_after in (10, 60):
        eventually(lambda: answered(vllm_stack, batch_id) > killed_after, within_s=120)  # noqa: B023
        eventually(lambda: engine_core(vllm_stack), within_s=60)
        engines = kill(vllm_stack, GENERATOR)
        assert engines, "the engine core runs below its worker"
        for pid in engines:  # one that has just been started looks for its worker only when it has imported vLLM
            eventually(lambda: gone(pid), within_s=60)  # noqa: B023
        if killed_after == 10:
            old = kill(vllm_stack, VALKEY)
            assert old == []
            eventually(lambda: vllm_stack.pid(VALKEY) is not None, within_s=20)

    eventually(lambda: state(vllm_stack, batch_id)["status"] == "completed", within_s=240)
    ended = state(vllm_stack, batch_id)
    assert ended["request_counts"] == {"total": NUMBER, "completed": NUMBER, "failed": 0}
    assert ended["error_file_id"] is None
    found = download(vllm_stack, ended["output_file_id"], tmp_path / "out.jsonl")
    assert [answer["custom_id"] for answer in found] == [f"gsm-{number}" for number in range(NUMBER)]
    cores = [process for process in vllm_stack.processes() if "EngineCore" in " ".join(process.cmdline())]
    assert len(cores) <= 1


@pytest.mark.timeout(240)
def test_a_line_that_kills_workers_is_given_up_alone(
    remote_stack: RunningStack, engine_server: OpenAIServer, tmp_path: Path
) -> None:
    """The server kills the worker that sends it the poison, with -9, as a crashing engine would."""
    deaths: list[int] = []
    lock = threading.Lock()

    def poison(body: dict[str, Any]) -> None:
        if "poison" in prompt_of(body):
            with lock:
                pid = remote_stack.pid(GENERATOR)
                if pid is not None and pid not in deaths:
                    deaths.append(pid)
                    os.kill(pid, signal.SIGKILL)

    engine_server.on_request = poison
    lines = [
        line(f"line-{number}", "poison" if number == 23 else f"word {number}", model="echo") for number in range(50)
    ]
    batch_id = start_batch(remote_stack, write_lines(tmp_path / "in.jsonl", lines), sprout_level="L0")

    eventually(lambda: state(remote_stack, batch_id)["status"] == "completed", within_s=200)
    ended = state(remote_stack, batch_id)
    assert ended["request_counts"] == {"total": 50, "completed": 49, "failed": 1}
    found = download(remote_stack, ended["output_file_id"], tmp_path / "out.jsonl")
    assert [answer["custom_id"] for answer in found] == [f"line-{n}" for n in range(50) if n != 23]
    assert found[7]["response"]["body"]["choices"][0]["message"]["content"] == "word 7"
    errors = download(remote_stack, ended["error_file_id"], tmp_path / "errors.jsonl")
    assert [(error["custom_id"], error["error"]["code"]) for error in errors] == [("line-23", "poison_request")]
    assert 3 <= len(deaths) <= 12


@pytest.mark.timeout(120)
def test_an_engine_server_that_is_away_costs_time_and_no_line(
    remote_stack: RunningStack, engine_server: OpenAIServer, tmp_path: Path
) -> None:
    port = httpx.URL(engine_server.url).port
    assert port is not None
    eventually(lambda: "ready" in remote_stack.logs("generator"), within_s=30)
    # The second server takes over the port once the first is closed: a restart of `vllm serve`.
    engine_server.__exit__(None, None, None)
    lines = [line(f"line-{number}", f"word {number}", model="echo") for number in range(5)]
    batch_id = start_batch(remote_stack, write_lines(tmp_path / "in.jsonl", lines))
    eventually(lambda: "waits" in remote_stack.logs("generator"), within_s=60)
    with OpenAIServer(port=port):
        eventually(lambda: state(remote_stack, batch_id)["status"] == "completed", within_s=60)
    assert state(remote_stack, batch_id)["request_counts"] == {"total": 5, "completed": 5, "failed": 0}


def leased(stack: RunningStack) -> int:
    """Requests that workers hold and have not answered."""
    database = Database(stack.published.urls["database_url"])
    try:
        with database.transaction() as connection:
            query = "SELECT coalesce(sum(requests - completed - failed), 0) FROM shards WHERE state = 'leased'"
            return int(connection.execute(text(query)).scalar_one())
    finally:
        database.close()


@pytest.mark.timeout(240)
def test_workers_killed_at_random_lose_and_repeat_nothing(tmp_path: Path) -> None:
    """What is run twice is what a killed worker had leased, or less."""
    number, kills = 5000, 2
    rng = random.Random(20261126)
    runs = tmp_path / "runs"
    settings = {"SPROUT_ENGINE": "tests.support.engine:patient", "SPROUT_MODEL_NAME": "echo", "SPROUT_LEASE_S": "3"}
    with RunningStack(tmp_path / "home", {**settings, RUNS_VARIABLE: str(runs)}) as stack:
        lines = [line(f"line-{index}", f"word {index}", model="echo") for index in range(number)]
        batch_id = start_batch(stack, write_lines(tmp_path / "in.jsonl", lines), sprout_level="L0")
        lost = 0
        for moment in sorted(rng.uniform(0.05, 0.8) * number for _ in range(kills)):
            eventually(lambda: answered(stack, batch_id) >= moment, within_s=60)  # noqa: B023
            kill(stack, GENERATOR)
            lost += leased(stack)
        eventually(lambda: state(stack, batch_id)["status"] == "completed", within_s=120)
        ended = state(stack, batch_id)
        assert ended["request_counts"] == {"total": number, "completed": number, "failed": 0}
        found = download(stack, ended["output_file_id"], tmp_path / "out.jsonl")
    assert [answer["custom_id"] for answer in found] == [f"line-{index}" for index in range(number)]
    said = [answer["response"]["body"]["choices"][0]["message"]["content"] for answer in found]
    assert said == [f"word {index}" for index in range(number)]
    began = runs.read_text().splitlines()
    assert set(began) == set(said)
    assert 0 < len(began) - number <= lost
