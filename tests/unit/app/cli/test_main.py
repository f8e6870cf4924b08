from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from app import settings
from app.cli import main as main_module
from app.cli.main import cli, main


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("SPROUT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SPROUT_HOME", str(tmp_path / "home"))
    settings.load.cache_clear()
    yield
    settings.load.cache_clear()


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["sprout", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def commands(group: click.Group, *path: str) -> Iterator[tuple[str, ...]]:
    yield path
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)
        else:
            yield (*path, name)


@pytest.mark.parametrize("path", list(commands(cli)), ids=" ".join)
def test_every_command_explains_itself(path: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(cli, [*path, "--help"])
    assert shown.exit_code == 0
    assert shown.output.startswith("Usage: ")
    assert len(shown.output.splitlines()[2].strip()) > 10, "no sentence about the command"


def test_all_commands_are_there() -> None:
    assert set(cli.commands) == {
        "api", "beat", "worker", "flower", "migrate", "up", "batch", "summarize", "directives",
        "evaluations", "vote", "grid", "replay", "calibrate", "erase", "retention", "webhooks",
        "tenants", "keys",
    }  # fmt: skip


def test_an_error_of_ours_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("{}")
    output.write_text("precious")
    assert run(monkeypatch, "batch", "run", source, "-o", output) == 1
    shown = capsys.readouterr()
    assert shown.err == f"sprout: {output} exists: name another output file, or add --force to replace it.\n"
    assert shown.out == ""
    assert output.read_text() == "precious"


@pytest.mark.parametrize(
    ("variable", "value"),
    [("SPROUT_API_PORT", "x"), ("SPROUT_XI", "2"), ("SPROUT_DIRECTIVES", '["not empty"]'), ("SPROUT_ENGINE", "openai")],
)
def test_a_wrong_setting_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    assert run(monkeypatch, "api") == 1
    shown = capsys.readouterr().err
    assert shown.startswith("sprout: The settings cannot be used: ")
    assert variable in shown or "directive" in shown


def test_flower_without_a_password(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("FLOWER_BASIC_AUTH", raising=False)
    monkeypatch.setattr(main_module, "_become", lambda _: pytest.fail("it was started"))
    assert run(monkeypatch, "flower") == 1
    assert "Flower needs a password" in capsys.readouterr().err


@pytest.mark.parametrize("queues", ["nothing", "generate,nothing", ""])
def test_an_unknown_queue(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], queues: str) -> None:
    assert run(monkeypatch, "worker", "--queues", queues) == 2
    assert "the queues are schedule, generate" in capsys.readouterr().err


def test_processes_are_replaced_by_the_real_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    became: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda path, command: became.append(command))
    monkeypatch.setenv("FLOWER_BASIC_AUTH", "u:p")
    for arguments in (["api"], ["beat"], ["flower"], ["worker", "--queues", "schedule,generate", "--name", "both"]):
        assert run(monkeypatch, *arguments) == 0
    assert [command[0] for command in became] == [sys.executable] * 4
    assert "--queues=schedule,generate,evaluate" in became[3]
    assert "--hostname=both@%h" in became[3]


def test_migrating_needs_a_database(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "migrate") == 2
    assert "SPROUT_DATABASE_URL is not set" in capsys.readouterr().err
    settings.load.cache_clear()
    monkeypatch.setenv("SPROUT_DATABASE_URL", "mysql://u@h/d")
    assert run(monkeypatch, "migrate") == 1
    assert "Sprout needs PostgreSQL" in capsys.readouterr().err


def test_the_version(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "--version") == 0
    assert "0.1.0" in capsys.readouterr().out
