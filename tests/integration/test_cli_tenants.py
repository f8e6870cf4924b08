"""`sprout tenants` and `sprout keys`, on the database itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app import settings
from app.cli import main
from app.cli.main import cli
from app.cli.operating import refuse_open_door
from app.domain.errors import ConfigurationError, SproutError
from app.store.database import Database
from tests.support.services import Desk, some_settings

Run = Callable[..., Result]


@pytest.fixture
def run(emptied: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Run]:
    monkeypatch.setenv("SPROUT_DATABASE_URL", emptied.raw().url.render_as_string(hide_password=False))
    monkeypatch.setenv("SPROUT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")
    settings.load.cache_clear()

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(cli, arguments)

    yield invoke
    settings.load.cache_clear()


def test_a_tenant_with_a_key_from_the_cradle_to_the_grave(run: Run, desk: Desk) -> None:
    assert run("tenants", "add", "acme", "--weight", "2", "--tokens-per-day", "1000").exit_code == 0
    made = run("keys", "create", "acme", "--days", "90")
    secret = made.stdout.strip()
    assert re.fullmatch(r"sk-sprout-[0-9a-f]{12}-[0-9a-f]{64}", secret)
    prefix = secret.split("-")[2]
    assert f"Key {prefix} of tenant acme, for batches:read, batches:write, until" in made.stderr
    listed = run("keys", "list").stdout
    assert prefix in listed
    assert secret.rsplit("-", 1)[1] not in listed
    rotated = run("keys", "rotate", prefix, "--overlap-hours", "1").stdout.strip()
    assert rotated != secret
    assert run("keys", "revoke", prefix).exit_code == 0
    assert "revoked" in run("keys", "list", "acme").stdout
    assert run("tenants", "limits", "acme", "--tokens-per-day", "none", "--batches-per-hour", "5").exit_code == 0
    query = "SELECT weight, tokens_per_day, batches_per_hour FROM tenants WHERE id = 'acme'"
    assert desk.rows(query) == [(2.0, None, 5)]
    assert run("tenants", "disable", "acme").exit_code == 0
    shown = run("tenants", "list").stdout
    assert "disabled" in shown
    assert "default" in shown
    assert run("tenants", "enable", "acme").exit_code == 0
    assert desk.rows("SELECT disabled_at, hold FROM tenants WHERE id = 'acme'") == [(None, None)]


def test_lists_can_be_read_in_a_narrow_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run("tenants", "add", "acme", "--tokens-per-day", "5000000").exit_code == 0
    for _ in range(2):
        assert run("keys", "create", "acme", "--days", "90").exit_code == 0
    for prefix in re.findall(r"\b[0-9a-f]{12}\b", run("keys", "list").stdout):
        assert run("keys", "revoke", prefix).exit_code == 0
    listed = run("keys", "list").stdout
    assert "batches:read," in listed
    assert "batches:write" in listed
    assert run("tenants", "disable", "acme").exit_code == 0
    shown = run("tenants", "list").stdout
    assert "0 of 5000000" in " ".join(shown.split())
    assert re.search("^acme is held: .*disabled", shown, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("tenants", "add", "a b"), "is no name of a tenant"),
        (("tenants", "add", "x", "--weight", "0"), "A weight is a number"),
        (("tenants", "add", "x", "--tokens-per-day", "-1"), "tokens per day is a number from 0 on"),
        (("tenants", "add", "x", "--tokens-per-day", "many"), "neither a number nor 'none'"),
        (("tenants", "add", "x", "--carbon-g-per-month", "nan"), "carbon g per month is a number from 0 on"),
        (("tenants", "add", "default"), "always"),
        (("tenants", "limits", "default"), "Name a limit to change"),
        (("tenants", "limits", "nobody", "--weight", "2"), "There is no tenant 'nobody'"),
        (("tenants", "disable", "default"), "cannot be disabled"),
        (("keys", "create", "nobody"), "There is no tenant 'nobody'"),
        (("keys", "create", "default", "--scope", "root"), "'root' is not one of"),
        (("keys", "create", "default", "--days", "0"), "0.0 is not in the range"),
        (("keys", "list", "nobody"), "There is no tenant 'nobody'"),
        (("keys", "revoke", "nobody"), "There is no key 'nobody'"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(run: Run, arguments: tuple[str, ...], said: str) -> None:
    found = run(*arguments)
    assert found.exit_code != 0
    if isinstance(found.exception, SproutError):
        assert said in found.exception.message
    else:
        assert said in found.stderr


def test_the_api_is_not_opened_to_the_network_without_a_key(run: Run, emptied: Database, tmp_path: Path) -> None:
    for host in ("0.0.0.0", "::", "192.168.0.7", "gpu.example"):
        with pytest.raises(ConfigurationError, match="is open to the network: set SPROUT_API_KEY"):
            refuse_open_door(some_settings(tmp_path, api_host=host), emptied)
        refuse_open_door(some_settings(tmp_path, api_host=host, api_key="k"), emptied)
    refuse_open_door(some_settings(tmp_path, api_host="127.0.0.1"), emptied)
    assert run("keys", "create", "default").exit_code == 0
    refuse_open_door(some_settings(tmp_path, api_host="0.0.0.0"), emptied)


def test_an_open_api_is_refused_before_it_starts(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPROUT_API_HOST", "0.0.0.0")
    started: list[Sequence[str]] = []
    monkeypatch.setattr(main, "_become", started.append)
    refused = run("api").exception
    assert isinstance(refused, ConfigurationError)
    assert "is open to the network" in refused.message
    assert not started
    assert run("keys", "create", "default").exit_code == 0
    assert run("api").exit_code == 0
    assert len(started) == 1
