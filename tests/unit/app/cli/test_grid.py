from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from app import settings
from app.cli import grid as module
from app.cli.grid import grid, show_forecast, show_now
from app.domain.errors import IntensityUnavailable, ServiceUnavailable
from app.domain.intensity import HOUR
from app.services.context import SystemClock
from tests.support.clock import NOON, FakeClock
from tests.support.grid import ScriptedProvider, a_forecast, a_point
from tests.support.web import Answer, Asked, as_json, serving


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("SPROUT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SPROUT_HOME", str(tmp_path / "home"))
    settings.load.cache_clear()
    yield
    settings.load.cache_clear()


def moment(hours: float) -> str:
    return (NOON + hours * HOUR).isoformat()


def zone(name: str = "DE", **changes: Any) -> dict[str, Any]:
    """120 g/kWh now, 100 to 123 in the past day, 200 and more ahead."""
    return {
        "zone": name,
        "basis": "lifecycle-average",
        "present": {
            "intensity_g_per_kwh": 120.4, "origin": "estimated", "provider": "electricity_maps", "start": moment(0),
        },
        "past": [
            {"start": moment(hour), "intensity_g_per_kwh": 124.0 + hour, "origin": "measured", "provider": "p"}
            for hour in range(-24, 0)
        ],
        "forecast": [
            {
                "start": moment(hour), "intensity_g_per_kwh": 200.0 + hour, "issued_at": moment(-1),
                "provider": "electricity_maps" if hour < 3 else "built-in", "error_90": 0.1 if hour < 3 else None,
            }
            for hour in range(1, 49)
        ],
        "devices": 2.0,
        "scores": [
            {
                "provider": "built-in", "lead_h": lead, "forecasts": 30, "zero_hours": 2, "mape": mape, "error_90": 0.2,
            }
            for lead, mape in ((1, 0.051), (6, None))
        ],
        **changes,
    }  # fmt: skip


def printed(show: Any, *arguments: Any) -> list[str]:
    console = Console(file=io.StringIO(), width=80)
    show(console, *arguments)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    return [line.rstrip() for line in lines]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(grid, arguments)


def test_now_in_eighty_columns() -> None:
    bare = zone("US-CAL-CISO", past=[], basis="direct-average")
    lines = printed(show_now, [zone(), bare])
    (row,) = [line.split() for line in lines if line.startswith(" DE")]
    assert row == ["DE", "estimated", "03-02", "12:00", "electricity_maps", "120", "100", "112", "123"]
    assert all(len(line) <= 80 for line in lines if not line.startswith("Basis"))
    assert [line.partition(".")[0] for line in lines if line.startswith("Basis")] == [
        "Basis: direct-average", "Basis: lifecycle-average",
    ]  # fmt: skip


def test_a_forecast_in_eighty_columns() -> None:
    lines = printed(show_forecast, zone(), 4)
    rows = [line.split() for line in lines if line.startswith(" 03-02")]
    assert [[cell for cell in row if "█" not in cell] for row in rows] == [
        ["03-02", "13:00", "201", "20", "electricity_maps"],
        ["03-02", "14:00", "202", "20", "electricity_maps"],
        ["03-02", "15:00", "203", "-", "built-in"],
        ["03-02", "16:00", "204", "-", "built-in"],
    ]
    assert lines[-3:] == [
        "Issued by electricity_maps: 2026-03-02 11:00 UTC.",
        "Issued by built-in: 2026-03-02 11:00 UTC.",
        "Mean error of built-in by hours ahead, past 35 days: 1 h 5.1%, 6 h -; 4 figures of 0 left out.",
    ]
    assert max(map(len, lines[:-1])) <= 80


def test_without_a_forecast() -> None:
    (line,) = printed(show_forecast, zone(forecast=[]), 24)
    assert line.startswith("No forecast of DE is stored yet")
    assert "No forecast has met its figure yet." in printed(show_forecast, zone(scores=[]), 24)


@pytest.mark.parametrize("command", ["now", "forecast"])
def test_the_api_is_asked(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(asked: Asked) -> Answer:
        assert (asked.method, asked.path) == ("GET", "/sprout/v1/intensity")
        return as_json({"zones": [zone("DE"), zone("FR")]})

    with serving(answer) as url:
        monkeypatch.setenv("SPROUT_API_URL", url)
        both = run(command)
        raw = run(command, "--zone", "FR", "--json")
        wrong = run(command, "--zone", "XX")
    assert both.exit_code == 0, both.output
    assert "DE" in both.output
    assert "FR" in both.output
    assert [entry["zone"] for entry in json.loads(raw.output)] == ["FR"]
    assert wrong.exit_code == 2
    assert "there is no zone 'XX', only DE, FR." in wrong.output


@pytest.mark.parametrize("arguments", [["now"], ["forecast"], ["backfill"]])
def test_without_a_stack(arguments: list[str]) -> None:
    result = run(*arguments)
    assert isinstance(result.exception, ServiceUnavailable)
    assert "start one with `sprout up`, or set SPROUT_" in result.exception.message


@pytest.mark.parametrize("arguments", [["forecast", "--hours", "0"], ["backfill", "--days", "x"], ["check", "--days"]])
def test_what_cannot_be_asked(arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> ScriptedProvider:
    found = ScriptedProvider()
    monkeypatch.setattr(module, "provider", lambda _: found)
    monkeypatch.setattr(SystemClock, "now", lambda _: clock.now())
    clock.advance(minutes=20)
    monkeypatch.setenv("SPROUT_ZONE", "DE")
    monkeypatch.setenv("SPROUT_ZONES", '["DE", "FR"]')
    return found


def test_check_says_what_the_source_gives(source: ScriptedProvider) -> None:
    source.estimated |= {NOON, NOON - HOUR}
    source.forecasts["DE"] = a_forecast([1.0] * 72, zone="DE")
    result = run("check", "--zone", "DE")
    assert result.exit_code == 0, result.output
    assert result.output.splitlines() == [
        "Source: scripted. Basis: lifecycle-average.",
        "DE: 24 of the past 24 hours are known, the newest is 2026-03-02 12:00 UTC with 300 gCO2eq/kWh.",
        "DE: 2 of them are estimates, which the source may revise.",
        "DE: Its own forecast, issued 2026-03-02 12:00 UTC, reaches 72 hours ahead.",
    ]


def test_check_of_a_late_source_without_a_forecast(source: ScriptedProvider) -> None:
    source.missing |= {NOON, NOON - HOUR}
    lines = run("check").output.splitlines()
    assert lines[1].endswith("2026-03-02 10:00 UTC with 300 gCO2eq/kWh, 2 h behind the present one.")
    assert lines[2:4] == [
        "DE: No hour is an estimate.",
        "DE: It gives no forecast: the built-in one, learned from the stored hours, serves.",
    ]
    assert lines[4].startswith("FR: 22 of the past 24 hours")


def test_check_goes_on_after_a_zone_that_fails(source: ScriptedProvider) -> None:
    source.faults["DE"] = IntensityUnavailable("The token has no access to zone DE.")
    result = run("check")
    assert result.exit_code == 1
    assert "DE: The token has no access to zone DE." in result.output
    assert "FR: 24 of the past 24 hours" in result.output


def test_check_of_a_source_that_knows_nothing_or_nonsense(source: ScriptedProvider) -> None:
    source.missing |= {NOON - number * HOUR for number in range(24)}
    result = run("check", "--zone", "FR")
    assert (result.exit_code, "knows none of the past 24 hours" in result.output) == (1, True)
    source.missing.clear()
    source.faults["FR"] = a_point(0, 1.0, zone="GB")
    result = run("check", "--zone", "FR")
    assert (result.exit_code, "answered with 2026-03-02T12:00:00+00:00 in zone GB" in result.output) == (1, True)


def test_check_of_an_unknown_zone(source: ScriptedProvider) -> None:
    result = run("check", "--zone", "XX")
    assert result.exit_code == 2
    assert "there is no zone 'XX', only DE, FR." in result.output
    assert source.asked == []
