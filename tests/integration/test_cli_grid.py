from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from app import settings
from app.cli import grid as module
from app.cli.grid import grid
from app.domain.errors import ConfigurationError, IntensityUnavailable
from app.embedded.home import Home
from app.services.context import SystemClock
from app.store.database import Database
from tests.support.clock import FakeClock
from tests.support.grid import ScriptedProvider
from tests.support.services import Desk
from tests.support.web import as_json, serving


@pytest.fixture
def source(desk: Desk, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ScriptedProvider]:
    """A stack runs on SPROUT_HOME, and its database is the tests'."""
    for name in [name for name in os.environ if name.startswith("SPROUT_")]:
        monkeypatch.delenv(name)
    home = Home(tmp_path / "stack")
    home.lock()
    database = desk.context.database
    assert isinstance(database, Database)
    monkeypatch.setenv("SPROUT_HOME", str(home.path))
    monkeypatch.setenv("SPROUT_ZONES", '["WORLD", "FR"]')
    found = ScriptedProvider()
    monkeypatch.setattr(module, "provider", lambda _: found)
    monkeypatch.setattr(SystemClock, "now", lambda _: clock.now())
    settings.load.cache_clear()
    zones = {"zones": [{"zone": zone, "basis": "lifecycle-average"} for zone in ("WORLD", "FR")]}
    with serving(lambda _: as_json(zones)) as url:
        home.publish(api_url=url, database_url=database.raw().url.render_as_string(hide_password=False))
        yield found
    settings.load.cache_clear()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("SPROUT_ZONES", '["DE"]', "DE"), ("SPROUT_INTENSITY_BASIS", "direct-average", "WORLD, direct-average")],
)
def test_a_running_stack_gets_no_figures_that_are_not_its_own(
    desk: Desk, source: ScriptedProvider, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    settings.load.cache_clear()
    result = CliRunner().invoke(grid, ["backfill"])
    assert isinstance(result.exception, ConfigurationError)
    assert "The running stack has WORLD, FR on the basis lifecycle-average" in result.exception.message
    assert said in result.exception.message
    assert desk.rows("SELECT count(*) FROM intensity") == [0]


def test_backfill_writes_to_the_running_stack_s_database(desk: Desk, source: ScriptedProvider) -> None:
    result = CliRunner().invoke(grid, ["backfill", "--days", "3"])
    assert result.exit_code == 0, result.output
    assert result.output.splitlines() == [
        f"{zone}: 73 hours of the past 3 days are new or have another figure." for zone in ("WORLD", "FR")
    ]
    assert desk.rows("SELECT zone, count(*) FROM intensity GROUP BY 1 ORDER BY 1") == [("FR", 73), ("WORLD", 73)]


def test_backfill_of_one_zone(desk: Desk, source: ScriptedProvider) -> None:
    assert "there is no zone 'XX', only WORLD, FR." in CliRunner().invoke(grid, ["backfill", "--zone", "XX"]).output
    assert CliRunner().invoke(grid, ["backfill", "--zone", "FR"]).exit_code == 0
    assert desk.rows("SELECT zone, count(*) FROM intensity GROUP BY 1") == [("FR", 721)]


def test_backfill_goes_on_after_a_zone_that_fails(desk: Desk, source: ScriptedProvider) -> None:
    source.faults["WORLD"] = IntensityUnavailable("The token has no access to zone WORLD.")
    result = CliRunner().invoke(grid, ["backfill", "--days", "1"])
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        "WORLD: The token has no access to zone WORLD.",
        "FR: 25 hours of the past day are new or have another figure.",
    ]
    assert desk.rows("SELECT DISTINCT zone FROM intensity") == ["FR"]
