"""Batches moved in time and place on a real stack whose clock runs 600 times as fast: an hour takes six seconds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import psutil
import pytest

from app.domain.intensity import HOUR
from app.domain.units import hour_of
from tests.support.embedded import gone
from tests.support.openai_server import OpenAIServer
from tests.support.rehearsal import Rehearsal, rehearsal
from tests.support.stack import RunningStack
from tests.support.waiting import eventually

pytestmark = pytest.mark.rehearsal


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
