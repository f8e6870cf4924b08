"""Batches moved in time and place on a real stack whose clock runs 600 times as fast: an hour takes six seconds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from app.domain.intensity import HOUR
from app.domain.units import hour_of
from tests.support.embedded import gone, temporary_home
from tests.support.lines import line, read_lines, write_lines
from tests.support.openai_server import OpenAIServer
from tests.support.stack import RunningStack
from tests.support.waiting import eventually

pytestmark = pytest.mark.rehearsal

SPEED = 600
DAYS = 12
"""Of past, from which the built-in forecast learns, and of future, which only the provider knows."""

Shape = Callable[[int], float]
"""gCO2eq/kWh by hours from the start of the rehearsal."""


def write_trace(path: Path, start: datetime, zones: Mapping[str, Shape]) -> Path:
    rows = [
        f"{start + hour * HOUR:%Y-%m-%dT%H:%M:%SZ},{zone},{shape(hour)}"
        for zone, shape in zones.items()
        for hour in range(-24 * DAYS, 24 * DAYS)
    ]
    path.write_text("\n".join(["datetime_utc,zone,intensity_g_per_kwh", *rows]) + "\n")
    return path


class Rehearsal:
    """A running stack, its clock and its trace."""

    def __init__(self, stack: RunningStack, http: httpx.Client, start: datetime, trace: Path, folder: Path) -> None:
        self.stack = stack
        self.start = start
        self.trace = trace
        self._folder = folder
        self._http = http

    def now(self) -> datetime:
        return self.start + (datetime.now(UTC) - self.start) * SPEED

    def submit(self, requests: int, *, window: str = "24h", **metadata: str) -> str:
        lines = [line(f"r{number}", f"say {number} " + "word " * 20, model="echo") for number in range(requests)]
        source = write_lines(self._folder / "in.jsonl", lines)
        with source.open("rb") as file:
            uploaded = self._http.post("/v1/files", data={"purpose": "batch"}, files={"file": ("in.jsonl", file)})
        body = {
            "input_file_id": uploaded.raise_for_status().json()["id"],
            "endpoint": "/v1/chat/completions",
            "completion_window": window,
            "metadata": metadata,
        }
        return str(self._http.post("/v1/batches", json=body).raise_for_status().json()["id"])

    def state(self, batch_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self._http.get(f"/v1/batches/{batch_id}").raise_for_status().json()
        return found

    def ended(self, batch_id: str) -> Sequence[dict[str, Any]]:
        """The output of a batch, once it is completed."""
        eventually(lambda: self.state(batch_id)["status"] == "completed", within_s=120)
        file_id = self.state(batch_id)["output_file_id"]
        target = self._folder / "out.jsonl"
        target.write_bytes(self._http.get(f"/v1/files/{file_id}/content").content)
        return read_lines(target)

    def report(self, batch_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self._http.get(f"/sprout/v1/batches/{batch_id}/report").raise_for_status().json()
        return found

    def zones(self) -> Sequence[dict[str, Any]]:
        found: Sequence[dict[str, Any]] = self._http.get("/sprout/v1/intensity").raise_for_status().json()["zones"]
        return found

    def quote(self, requests: int, window: str) -> dict[str, Any] | None:
        """None while nothing is measured."""
        body = {"requests": {"default": requests}, "completion_window": window}
        answer = self._http.post("/sprout/v1/quote", json=body)
        return None if "was measured yet" in answer.text else dict(answer.raise_for_status().json())

    def measure(self) -> None:
        """Run something, so that the time of a request is known."""
        self.ended(self.submit(8))
        eventually(lambda: self.quote(8, "6h") is not None, within_s=30)


@contextmanager
def rehearsal(zones: Mapping[str, Shape], folder: Path, engine: OpenAIServer, **settings: str) -> Iterator[Rehearsal]:
    # The hour of the rehearsal begins with it.
    start = datetime.now(UTC)
    trace = write_trace(folder / "trace.csv", hour_of(start), zones)
    own = {
        "SPROUT_ENGINE": "openai",
        "SPROUT_ENGINE_URL": engine.url,
        "SPROUT_MODEL_NAME": "echo",
        "SPROUT_SHARD_SIZE": "8",
        "SPROUT_ZONE": next(iter(zones)),
        "SPROUT_INTENSITY_PROVIDER": "trace",
        "SPROUT_TRACE_FILE": str(trace),
        "SPROUT_CLOCK_SPEED": str(SPEED),
        "SPROUT_CLOCK_START": start.isoformat(),
        "SPROUT_PERIOD_S": "1",
        "SPROUT_TICK_S": "0.5",
        # Only the hour is to make a difference here.
        "SPROUT_PRIOR": "none",
        "SPROUT_EMBODIED_G": "0",
        **settings,
    }
    with (
        temporary_home() as home,
        RunningStack(home, own) as stack,
        httpx.Client(base_url=stack.api_url, trust_env=False, timeout=30) as http,
    ):
        yield Rehearsal(stack, http, start, trace, folder)


def kill(stack: RunningStack, mark: str) -> None:
    pid = stack.pid(mark)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: gone(pid))


def valley(hour: int) -> float:
    """Two clean hours in every eight."""
    return 50.0 if hour % 8 in (4, 5) else 400.0


def after_a_valley(run: Rehearsal) -> datetime:
    """Wait for the first hour after one; when the next one begins."""
    first = hour_of(run.start)
    eventually(lambda: (run.now() - first) // HOUR % 8 == 6, within_s=60)
    return hour_of(run.now()) + 6 * HOUR


@pytest.mark.timeout(300)
def test_a_batch_is_held_and_runs_in_the_clean_hours(engine_server: OpenAIServer, tmp_path: Path) -> None:
    """Although the scheduler is killed, and the source of intensity is gone from then on."""
    with rehearsal({"GB": valley}, tmp_path, engine_server) as run:
        run.measure()
        opens = after_a_valley(run)
        quote = run.quote(64, "12h")
        assert quote is not None
        at_once, *_, patient = quote["options"]
        assert patient["footprint_g"] < 0.5 * at_once["footprint_g"]

        batch_id = run.submit(64, window="12h", sprout_schedule="carbon")
        eventually(lambda: run.state(batch_id)["status"] == "in_progress", within_s=30)
        held = run.state(batch_id)
        assert datetime.fromisoformat(held["sprout"]["waiting_until"]) in (opens, opens + HOUR)
        assert "It waits until" in held["sprout"]["reason"]
        kill(run.stack, "--hostname=scheduler@")
        run.trace.unlink()
        eventually(lambda: run.stack.pid("--hostname=scheduler@") is not None, within_s=30)
        waiting = run.state(batch_id)
        assert run.now() < opens, "this machine is too slow for the test"
        assert waiting["request_counts"]["completed"] == 0

        answers = run.ended(batch_id)
        assert len({answer["custom_id"] for answer in answers}) == 64
        ended = run.state(batch_id)
        assert opens.timestamp() <= ended["finalizing_at"] < (opens + 5 * HOUR).timestamp() < ended["expires_at"]
        assert "sprout.refresh" in run.stack.logs("scheduler")
        followed = run.report(batch_id)["hindsight"]
        assert followed["schedule"] == "carbon"
        assert followed["share_as_planned"] > 0.5


def high_low(hour: int) -> float:
    return 400.0 if hour % 6 < 3 else 50.0


def low_high(hour: int) -> float:
    return 450.0 - high_low(hour)


@contextmanager
def another_worker(run: Rehearsal, zone: str, log: Path) -> Iterator[None]:
    """A generation worker in another zone, started as an operator starts it: against the same servers."""
    # Where the servers are: of the workers, Celery rewrites what the kernel shows.
    pid = run.stack.pid("app.api.main")
    assert pid is not None
    environment = {**psutil.Process(pid).environ(), "SPROUT_ZONE": zone}
    command = [sys.executable, "-m", "app.cli", "worker", "--queues", "generate", "--name", f"generator-{zone}"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield
        finally:
            process.terminate()
            process.wait(timeout=30)


@pytest.mark.timeout(300)
def test_work_goes_to_the_cleaner_zone_and_back(engine_server: OpenAIServer, tmp_path: Path) -> None:
    shapes = {"HERE": high_low, "THERE": low_high}
    settings = {"SPROUT_ZONES": '["HERE", "THERE"]'}
    with (
        rehearsal(shapes, tmp_path, engine_server, **settings) as run,
        another_worker(run, "THERE", tmp_path / "there.log"),
    ):
        run.measure()
        eventually(lambda: all(zone["devices"] > 0 for zone in run.zones()), within_s=60)
        first = hour_of(run.start)
        for zone, hour in (("THERE", 1), ("HERE", 4), ("THERE", 1)):
            eventually(lambda: (run.now() - first) // HOUR % 6 == hour, within_s=60)  # noqa: B023
            batch_id = run.submit(16, sprout_zones="any")
            answers = run.ended(batch_id)
            assert {answer["sprout"]["zone"] for answer in answers} == {zone}
            assert {answer["sprout"]["intensity_g_per_kwh"] for answer in answers} == {50.0}
            # Until the hour's figure has come, nothing is said.
            eventually(lambda: run.report(batch_id)["hindsight"]["at_once_g"] is not None, within_s=30)  # noqa: B023
            grams = run.report(batch_id)["hindsight"]
            at_home_g = grams["actual_g"] * (8 if zone == "THERE" else 1)
            assert grams["at_once_g"] == pytest.approx(at_home_g), "at home it is 400 against 50, or the same"
        at_home = run.ended(run.submit(16))
        assert {answer["sprout"]["zone"] for answer in at_home} == {"HERE"}, "who names no zone stays at home"
