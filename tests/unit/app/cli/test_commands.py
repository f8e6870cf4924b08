from __future__ import annotations

from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest

from app.api.protocol import BoundedProtocol
from app.cli import commands
from app.domain.errors import ConfigurationError
from app.ports import Queue
from app.settings import Settings
from tests.support.services import some_settings


def settings(**changes: Any) -> Settings:
    return some_settings(Path("/home/sprout"), **changes)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_the_api_is_served_where_the_settings_say(host: str) -> None:
    command = commands.api(settings(api_host=host, api_port=8123))
    assert command[1:5] == ("-m", "uvicorn", "--factory", "app.api.main:application")
    assert command[command.index("--host") + 1] == host
    assert command[command.index("--port") + 1] == "8123"
    assert resolve_name(command[command.index("--http") + 1]) is BoundedProtocol


def test_a_key_is_never_on_a_command_line() -> None:
    secret = settings(api_key="s3cret", database_url="postgresql://u:s3cret@h/d", broker_url="redis://:s3cret@h")
    environment = {"FLOWER_BASIC_AUTH": "user:s3cret"}
    for command in (
        commands.api(secret),
        commands.beat(secret),
        commands.worker(secret, [Queue.GENERATE]),
        commands.flower(secret, environment),
    ):
        assert "s3cret" not in " ".join(command)


def test_beat_keeps_its_schedule_in_the_home() -> None:
    assert "--schedule=/home/sprout/run/beat" in commands.beat(settings())


@pytest.mark.parametrize(
    ("queues", "name", "consumed", "threads", "hostname"),
    [
        ([Queue.GENERATE], None, "generate,evaluate", 6, "generate@%h"),
        ([Queue.SCHEDULE], "first", "schedule", 4, "first@%h"),
        ([Queue.SCHEDULE, Queue.GENERATE], None, "schedule,generate,evaluate", 6, "schedule@%h"),
    ],
)
def test_a_worker(queues: list[Queue], name: str | None, consumed: str, threads: int, hostname: str) -> None:
    command = commands.worker(settings(shards_in_flight=5), queues, name)
    assert f"--queues={consumed}" in command
    assert f"--concurrency={threads}" in command
    assert f"--hostname={hostname}" in command
    assert "--pool=threads" in command


@pytest.mark.parametrize(("slots", "threads"), [(128, 5), (512, 6), (1024, 10)])
def test_a_large_engine_has_more_shards_at_once(slots: int, threads: int) -> None:
    command = commands.worker(settings(engine_max_seqs=slots, shard_size=256), [Queue.GENERATE])
    assert f"--concurrency={threads}" in command


@pytest.mark.parametrize(
    ("zone", "queues", "consumed"),
    [
        ("A", [Queue.GENERATE], "generate,evaluate"),
        ("B", [Queue.GENERATE], "generate.B,evaluate.B"),
        ("B", [Queue.SCHEDULE], "schedule"),
        ("B", [Queue.GENERATE, Queue.EVALUATE, Queue.SCHEDULE], "schedule,generate.B,evaluate.B"),
    ],
)
def test_a_worker_takes_the_shards_of_its_own_zone(zone: str, queues: list[Queue], consumed: str) -> None:
    command = commands.worker(settings(zone=zone, zones=("A", "B"), shards_in_flight=7), queues)
    assert f"--queues={consumed}" in command
    assert ("--concurrency=8" in command) == (Queue.GENERATE in queues)


def test_a_worker_takes_the_shards_of_its_own_model() -> None:
    def consumed(**changes: str | None) -> str:
        command = commands.worker(settings(zones=("A", "B"), default_model="own", **changes), [Queue.GENERATE])
        return next(argument for argument in command if argument.startswith("--queues="))

    assert consumed(zone="A", model_name="own") == "--queues=generate,evaluate"
    assert consumed(zone="B", model_name="own") == "--queues=generate.B,evaluate.B"
    assert (
        consumed(zone="B", model="org/Other-7B", model_name=None) == "--queues=generate.B@Other-7B,evaluate.B@Other-7B"
    )


def test_evaluation_needs_an_engine() -> None:
    with pytest.raises(ConfigurationError, match="add generate"):
        commands.worker(settings(), [Queue.EVALUATE])


@pytest.mark.parametrize("environment", [{}, {"FLOWER_BASIC_AUTH": ""}])
def test_flower_needs_a_password(environment: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="FLOWER_BASIC_AUTH=user:password"):
        commands.flower(settings(), environment)


def test_flower_listens_where_the_api_does() -> None:
    command = commands.flower(settings(api_host="::1", flower_port=5000), {"FLOWER_BASIC_AUTH": "u:p"})
    assert command[-2:] == ("--address=::1", "--port=5000")
