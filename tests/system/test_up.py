"""`sprout up` from start to every kind of end."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.embedded import gone, temporary_home
from tests.support.lines import line, read_lines, write_lines
from tests.support.openai_server import OpenAIServer
from tests.support.stack import RunningStack, clean_environment, sprout
from tests.support.waiting import eventually

TRACE = str(Path(__file__).parents[2] / "examples" / "intensity.csv")

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def home() -> Iterator[Path]:
    with temporary_home() as folder:
        yield folder


def settings(server: OpenAIServer, **more: str) -> dict[str, str]:
    return {"SPROUT_ENGINE": "openai", "SPROUT_ENGINE_URL": server.url, "SPROUT_MODEL_NAME": "echo", **more}


@pytest.mark.parametrize(
    "how",
    [
        pytest.param(signal.SIGINT, marks=pytest.mark.long),
        signal.SIGTERM,
        pytest.param(signal.SIGKILL, marks=pytest.mark.long),
    ],
)
def test_every_end_of_up_leaves_nothing_running(home: Path, engine_server: OpenAIServer, how: signal.Signals) -> None:
    stack = RunningStack(home, settings(engine_server))
    stack.start()
    eventually(lambda: "ready" in stack.logs("generator"), within_s=30)
    running = [process.pid for process in stack.processes()]
    assert len(running) >= 7  # two servers, the API, beat, two workers, Flower

    printed = stack.stop(how)

    for pid in running:
        eventually(lambda: gone(pid), within_s=10)  # noqa: B023
    assert [name in printed for name in ("api ", "beat", "scheduler", "generator", "flower")] == [True] * 5
    assert ("everything has stopped" in printed) == (how is not signal.SIGKILL)


def test_state_survives_a_restart_and_a_kill(home: Path, engine_server: OpenAIServer, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "in.jsonl", [line("one", "hello", model="echo")])
    with RunningStack(home, settings(engine_server)) as stack:
        assert stack.sprout("batch", "run", source, "-o", tmp_path / "out.jsonl").returncode == 0
        stack.stop(signal.SIGKILL)
        stack.start()
        batches = httpx.get(f"{stack.api_url}/v1/batches", trust_env=False).json()["data"]
    assert [batch["status"] for batch in batches] == ["completed"]
    assert [answer["custom_id"] for answer in read_lines(tmp_path / "out.jsonl")] == ["one"]


def test_two_on_the_same_folder_refuse_each_other(home: Path, engine_server: OpenAIServer) -> None:
    with RunningStack(home, settings(engine_server)) as stack:
        second = stack.sprout("up")
        assert stack.process is not None
        assert second.returncode == 1
        assert second.stderr == (
            f"sprout: Sprout is already running on {home} (process {stack.process.pid}): stop it first, or set "
            "SPROUT_HOME to another folder.\n"
        )
        assert httpx.get(f"{stack.api_url}/healthz", trust_env=False).status_code == 200


def test_a_killed_child_is_started_again(home: Path, engine_server: OpenAIServer) -> None:
    with RunningStack(home, settings(engine_server)) as stack:
        before = stack.pid("uvicorn")
        assert before is not None
        os.kill(before, signal.SIGKILL)
        eventually(lambda: stack.pid("uvicorn") not in (None, before))
        eventually(lambda: stack._answers(), within_s=30)
        assert "api was ended by SIGKILL. It is started again" in stack.stop()


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("SPROUT_MODEL", "/no/such/model", "There is no model folder /no/such/model: set SPROUT_MODEL to one"),
        ("SPROUT_TRACE_FILE", "/no/such.csv", "The intensity trace /no/such.csv cannot be read"),
        ("SPROUT_ZONE", "ELSEWHERE", "has no row of zone ELSEWHERE, only of EXAMPLE: set SPROUT_ZONE"),
        ("SPROUT_XI", "much", "SPROUT_XI: Input should be a valid number"),
    ],
)
def test_a_wrong_setting_is_one_sentence_at_the_start(home: Path, variable: str, value: str, sentence: str) -> None:
    environment = {
        "SPROUT_HOME": str(home),
        "SPROUT_INTENSITY_PROVIDER": "trace",
        "SPROUT_TRACE_FILE": TRACE,
        "SPROUT_ZONE": "EXAMPLE",
    }
    ended = sprout(["up"], clean_environment({**environment, variable: value}))
    assert ended.returncode == 1
    assert sentence in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_taken_port_is_one_sentence(home: Path, engine_server: OpenAIServer) -> None:
    port = str(httpx.URL(engine_server.url).port)
    ended = sprout(["up"], clean_environment(settings(engine_server, SPROUT_HOME=str(home), SPROUT_API_PORT=port)))
    assert ended.returncode == 1
    assert f"Port {port} of 127.0.0.1 cannot be used" in ended.stderr
    assert "SPROUT_API_PORT" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_directives_of_the_running_stack(home: Path, engine_server: OpenAIServer, tmp_path: Path) -> None:
    environment = clean_environment({"SPROUT_HOME": str(home)})
    refused = sprout(["directives"], environment)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == f"sprout: No stack runs on {home}: start one with `sprout up`, or set SPROUT_API_URL.\n"

    source = write_lines(tmp_path / "in.jsonl", [line("one", "hello", model="echo")])
    with RunningStack(home, settings(engine_server, SPROUT_INTENSITY_BASIS="direct-average")) as stack:
        ran = stack.sprout("batch", "run", source, "-o", tmp_path / "out.jsonl", "--workload", "mail")
        assert ran.returncode == 0, ran.stderr
        shown = stack.sprout("directives")
        raw = stack.sprout("directives", "--json")
    assert shown.returncode == 0, shown.stderr
    assert "mail" in shown.stdout
    assert "480 gCO2eq/kWh" in shown.stdout
    assert "(direct-average, from static)" in shown.stdout
    assert "mail" in {mix["floor"] for mix in json.loads(raw.stdout)["mixes"]}
