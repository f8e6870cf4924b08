from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from app.cli.main import cli
from app.domain.errors import InvalidInput
from app.simulation.foresight import COLUMNS
from tests.support.recorded import record

ONE_MONTH = ("--zone", "NORTH", "--month", "2023-06")


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small dataset. Shared between tests: read it, never write to it."""
    return record(tmp_path_factory.mktemp("deferred") / "small")


@pytest.fixture(scope="session")
def forecasts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine days of recorded forecasts, all right."""
    actual = 200 + 100 * np.cos(np.arange(24 * 12) * np.pi / 12)
    rows = [f"{value},{value}" for day in range(9) for value in actual[24 * day :][:96]]
    path = tmp_path_factory.mktemp("forecasts") / "ERCO_carbon.csv"
    path.write_text("\n".join([",".join(COLUMNS), *rows]) + "\n")
    return path


def replay(*arguments: object, columns: int = 80) -> Result:
    return CliRunner(env={"COLUMNS": str(columns)}).invoke(cli, ["replay", *map(str, arguments)])


def deferred(*arguments: object) -> Result:
    ran = replay(*arguments, "--schedule", "carbon", "--requests-per-hour", 200)
    assert ran.exit_code == 0, ran.output
    return ran


def rows(path: Path, *arguments: object) -> list[dict[str, Any]]:
    deferred(*arguments, "--json", path)
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return found


def test_all_forecasts_by_default(dataset: Path, tmp_path: Path) -> None:
    output, report = tmp_path / "rows.json", tmp_path / "report"
    ran = deferred(dataset, "--json", output, "--report", report)
    found = json.loads(output.read_text(encoding="utf-8"))["rows"]
    assert len(found) == 9
    assert [row["forecast"] for row in found[:3]] == ["built-in", "seasonal-naive", "perfect"]
    for words in ("NORTH 2023-06", "mean", "With idle machines", "0 missed", "attributional, average intensity"):
        assert words in ran.output
    assert ran.output.endswith(f"Report: {report / 'report.md'}\n")
    assert "NORTH 2023-06" in (report / "report.md").read_text(encoding="utf-8")


def test_chosen_forecasts(dataset: Path, tmp_path: Path) -> None:
    given = ("--forecast", "perfect", "--forecast", "built-in", "--forecast", "perfect")
    found = rows(tmp_path / "rows.json", dataset, *ONE_MONTH, *given)
    assert [row["forecast"] for row in found] == ["perfect", "built-in"]


@pytest.mark.parametrize(
    ("less", "more"), [(("--capacity", "1.5"), ("--capacity", "3")), (("--idle-w", "150"), ("--idle-w", "0"))]
)
def test_options_reach_the_machines(
    dataset: Path, tmp_path: Path, less: tuple[str, ...], more: tuple[str, ...]
) -> None:
    given = (*ONE_MONTH, "--forecast", "perfect")
    found = [rows(tmp_path / "rows.json", dataset, *given, *each)[0]["total_saved_g"] for each in (less, more)]
    assert found[0] < found[1]


def test_with_policies_each_alone_and_both(dataset: Path, tmp_path: Path) -> None:
    given = ("--policy", "OURS", "--seeds", "1", "--no-strata")
    found = rows(tmp_path / "rows.json", dataset, *ONE_MONTH, *given)
    assert [(row["policy"], row["schedule"]) for row in found] == [
        ("BASE", "asap"), ("BASE", "carbon"), ("OURS", "asap"), ("OURS", "carbon"),
    ]  # fmt: skip
    assert "OURS, built-in" in deferred(dataset, *ONE_MONTH, *given).output.replace("\n", " ")


@pytest.mark.parametrize("policies", [(), ("--policy", "OURS", "SPROUT", "--seeds", "2", "--no-strata")])
def test_tables_fit_a_terminal(dataset: Path, policies: tuple[str, ...]) -> None:
    shown = deferred(dataset, *policies).output
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= 80
    assert "…" not in shown


def test_recorded_forecasts(dataset: Path, forecasts: Path, tmp_path: Path) -> None:
    found = rows(tmp_path / "rows.json", dataset, "--recorded", forecasts)
    assert [(row["zone"], row["forecast"]) for row in found] == [
        ("ERCO", kind) for kind in ("built-in", "seasonal-naive", "perfect", "recorded")
    ]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--forecast", "perfect"), "--forecast needs --schedule carbon"),
        (("--recorded", "{forecasts}"), "--recorded needs --schedule carbon"),
        (("--capacity", "3"), "--capacity needs --schedule carbon"),
        (("--idle-w", "3"), "--idle-w needs --schedule carbon"),
        (("--schedule", "carbon", "--as-published"), "--as-published cannot be had with --schedule carbon"),
        (("--schedule", "carbon", "--recorded", "{forecasts}", "--zone", "NORTH"), "--zone cannot be had with"),
        (("--schedule", "carbon", "--recorded", "{forecasts}", "--policy", "OURS"), "--policy cannot be had with"),
        (("--schedule", "later"), "--schedule"),
        (("--schedule", "carbon", "--forecast", "oracle"), "--forecast"),
        (("--schedule", "carbon", "--capacity", "0.5"), "--capacity"),
        (("--schedule", "carbon", "--idle-w", "-1"), "--idle-w"),
        (("--schedule", "carbon", "--recorded", "nowhere"), "--recorded"),
    ],
)
def test_bad_values_are_usage_errors(dataset: Path, forecasts: Path, arguments: tuple[str, ...], named: str) -> None:
    ran = replay(dataset, *(argument.format(forecasts=forecasts) for argument in arguments))
    assert ran.exit_code == 2
    assert named in ran.output


@pytest.mark.parametrize(
    ("arguments", "named"), [(("--forecast", "recorded"), "name a file"), (("--policy", "ORACLE"), "ORACLE")]
)
def test_what_cannot_be_replayed(dataset: Path, arguments: tuple[str, ...], named: str) -> None:
    ran = replay(dataset, "--schedule", "carbon", *arguments)
    assert isinstance(ran.exception, InvalidInput)
    assert named in ran.exception.message
