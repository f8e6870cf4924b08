from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from app.cli.main import cli, main
from app.domain.errors import ConfigurationError
from app.domain.optimizer import FloorMode
from tests.support.recorded import record

ONE_MONTH = ("--zone", "NORTH", "--month", "2023-06", "--seeds", "1")


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small dataset. Shared between tests: read it, never write to it."""
    return record(tmp_path_factory.mktemp("replay") / "small")


def replay(*arguments: object) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(cli, ["replay", *map(str, arguments)])


def rows(path: Path, *arguments: object) -> list[dict[str, Any]]:
    """What is written with --json, after a run that ended well."""
    ran = replay(*arguments, *ONE_MONTH, "--no-strata", "--json", path)
    assert ran.exit_code == 0, ran.output
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return found


def test_a_table_a_file_and_a_report(dataset: Path, tmp_path: Path) -> None:
    output, report = tmp_path / "new" / "rows.json", tmp_path / "report"
    ran = replay(
        dataset, "--policy", "SPROUT", "OURS", "--seeds", 1, "--zone", "NORTH", "--json", output, "--report", report
    )
    assert ran.exit_code == 0, ran.output
    shown = [line.split() for line in ran.output.splitlines() if line.strip()]
    assert [line[0] for line in shown[2:4]] == ["SPROUT", "OURS"]
    assert "1 seeds x 2 zone-months" in ran.output
    assert f"Report: {report / 'report.md'}" in ran.output
    assert (report / "report.md").is_file()
    found = json.loads(output.read_text(encoding="utf-8"))["rows"]
    assert [(row["policy"], row["month"]) for row in found] == [
        (policy, month) for month in ("2023-02", "2023-06") for policy in ("SPROUT", "OURS")
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ("{}", "--policy", "SPROUT", "OURS"), ("--policy", "SPROUT", "OURS", "{}"),
        ("{}", "--policy=OURS", "--policy=SPROUT"), ("--policy", "SPROUT", "--policy", "OURS", "{}"),
        ("--policy", "ours", "Sprout", "OURS", "{}"),
    ],
)  # fmt: skip
def test_policies_may_be_named_in_many_ways(dataset: Path, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    given = [argument.format(dataset) for argument in arguments]
    assert [row["policy"] for row in rows(tmp_path / "rows.json", *given)] == ["SPROUT", "OURS"]


def test_all_policies_by_default(dataset: Path, tmp_path: Path) -> None:
    found = rows(tmp_path / "rows.json", dataset)
    assert [row["policy"] for row in found] == [
        "BASE", "CO2_OPT", "MODEL_OPT", "SPROUT_STA", "SPROUT", "ORACLE", "OURS",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["none", "declared", "discovered"])
def test_classes(dataset: Path, tmp_path: Path, kind: str) -> None:
    (row,) = rows(tmp_path / "rows.json", dataset, "--policy", "OURS", "--workloads", kind)
    assert row["workloads"] == kind


@pytest.mark.parametrize("mode", [mode.value for mode in FloorMode])
def test_floor_modes(dataset: Path, tmp_path: Path, mode: str) -> None:
    (row,) = rows(tmp_path / "rows.json", dataset, "--policy", "OURS", "--floor-mode", mode)
    assert row["floor_mode"] == mode


@pytest.mark.parametrize(
    ("less", "more"),
    [
        (("--kept-at-l0", "1"), ("--kept-at-l0", "0")), (("--xi", "0"), ("--xi", "0.9")),
        (("--confidence", "0.999"), ("--confidence", "0.5")), (("--requests-per-hour", "10"), ()),
    ],
)  # fmt: skip
def test_options_reach_the_policy(dataset: Path, tmp_path: Path, less: tuple[str, ...], more: tuple[str, ...]) -> None:
    savings = [rows(tmp_path / "rows.json", dataset, "--policy", "OURS", *each)[0]["saving"] for each in (less, more)]
    assert savings[0] < savings[1]


def test_learned_from_another_dataset(dataset: Path, tmp_path: Path) -> None:
    other = record(tmp_path / "other", seed=7, per_workload=40)
    (row,) = rows(tmp_path / "rows.json", dataset, "--policy", "OURS", "--fit", other)
    assert row["verdicts"] == 120


def test_as_published(dataset: Path, tmp_path: Path) -> None:
    found = rows(tmp_path / "rows.json", dataset, "--as-published", "--policy", "SPROUT", "ORACLE")
    assert [row["published_saving"] for row in found] == pytest.approx([0.4, 0.5])


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--policy", "BEST"), "BEST"), (("--policy",), "--policy"), (("--policy", "OURS", "BEST"), "BEST"),
        (("--workloads", "all"), "--workloads"), (("--floor-mode", "none"), "--floor-mode"), (("--xi", "1.1"), "--xi"),
        (("--confidence", "1"), "--confidence"), (("--kept-at-l0", "-1"), "--kept-at-l0"),
        (("--quality-worth", "-1"), "--quality-worth"), (("--requests-per-hour", "0"), "--requests-per-hour"),
        (("--seeds", "0"), "--seeds"), (("--fit", "nowhere"), "--fit"), (("--json", "."), "--json"),
    ],
)  # fmt: skip
def test_bad_values_are_usage_errors(dataset: Path, arguments: tuple[str, ...], named: str) -> None:
    ran = replay(dataset, *arguments)
    assert ran.exit_code == 2
    assert named in ran.output


def test_a_dataset_is_needed(tmp_path: Path) -> None:
    assert replay().exit_code == 2
    assert replay(tmp_path / "nowhere").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--zone", "EAST"), "NORTH 2023-02"), (("--as-published", "--policy", "OURS"), "OURS"),
        (("--fit", "{empty}"), "lacks composition.csv"), (("--policy", "OURS"), None),
    ],
)  # fmt: skip
def test_what_cannot_be_replayed_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    dataset: Path,
    tmp_path: Path,
    arguments: tuple[str, ...],
    named: str | None,
) -> None:
    folder = dataset if named else tmp_path
    given = [argument.format(empty=tmp_path) for argument in arguments]
    monkeypatch.setattr(sys, "argv", ["sprout", "replay", str(folder), "--seeds", "1", *given])
    with pytest.raises(SystemExit) as ended:
        main()
    shown = capsys.readouterr()
    assert ended.value.code == 1
    assert shown.out == ""
    assert shown.err.startswith("sprout: ")
    assert len(shown.err.splitlines()) == 1
    assert (named or f"The dataset {tmp_path} lacks composition.csv.") in shown.err


def test_a_place_that_cannot_be_written_is_named_before_the_replay(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ran = replay(dataset, "--policy", "BASE", "--seeds", 1, "--json", tmp_path / "file" / "rows.json")
    assert isinstance(ran.exception, ConfigurationError)
    assert "cannot be written" in ran.exception.message
    assert ran.output == ""
