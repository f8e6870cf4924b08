from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.simulation.comparison import Comparison, run
from app.simulation.report import HEADINGS, NOT_AVAILABLE, legend, write
from app.simulation.summary import summarize
from tests.support.recorded import contents

ALL_PLOTS = {"saving-preference.png", "saving-worst.png", "by-workload.png", "mix.png"}


def asked(dataset: Path, *policies: str, **choices: Any) -> Comparison:
    return Comparison(
        dataset=dataset, policies=policies, seeds=1, zone="NORTH", month="2023-06", strata=False, **choices
    )


def written(comparison: Comparison, folder: Path) -> str:
    page = write(comparison, run(comparison), folder)
    assert page == folder / "report.md"
    return page.read_text(encoding="utf-8")


def cells(page: str, first: str) -> list[str]:
    line = next(line for line in page.splitlines() if line.startswith(f"| {first}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_saving_preference_and_worst_workload_stand_on_one_line(recorded: Path, tmp_path: Path) -> None:
    comparison = asked(recorded, "SPROUT", "OURS")
    rows = run(comparison)
    page = written(comparison, tmp_path / "new" / "report")
    assert cells(page, "policy |") == list(HEADINGS)
    for row, first in zip(rows, ("SPROUT", "OURS, per-workload, declared"), strict=True):
        found = cells(page, first)
        assert found[0] == first
        assert found[1] == f"{row['saving']:.1%} ± 0.0% (≥ {row['saving']:.1%})"
        assert found[2] == f"{row['preference']:.1%} ± 0.0%"
        assert found[3].startswith(f"{row['worst_preference']:.1%} ± 0.0% (≥ ")
        assert found[4] == f"{row['worst_workload']} (100%)"
        assert found[6:8] == [str(row["rounds"]), f"{row['clean_rounds']:.0%}"]
    for line in legend(comparison, rows):
        assert line in page


def test_every_workload_has_a_line_with_its_accuracy(recorded: Path, tmp_path: Path) -> None:
    comparison = asked(recorded, "OURS")
    (row,) = run(comparison)
    page = written(comparison, tmp_path)
    sums = cells(page, "OURS | sums")
    assert sums[2] == f"{row['per_workload']['sums']['saving']:.1%}"
    assert sums[3] == f"{row['per_workload']['sums']['preference']:.1%}"
    assert sums[4] == f"{row['gold_accuracy']['sums']['accuracy']:.1%}"
    assert cells(page, "OURS | letters")[4:] == [NOT_AVAILABLE] * 2


def test_the_legend_says_when_rounds_ran(recorded: Path) -> None:
    comparison = asked(recorded, "BASE", "OURS")
    rows = run(comparison)
    (ours,) = (row for row in rows if row["policy"] == "OURS")
    said = f"OURS {ours['rounds']} ({ours['clean_rounds']:.0%})."
    assert [line.rpartition(": ")[2] for line in legend(comparison, rows) if "cleanest third" in line] == [said]
    alone = [row for row in rows if row["policy"] == "BASE"]
    assert not any("cleanest third" in line for line in legend(comparison, alone))


@pytest.mark.parametrize(
    ("policies", "plots"),
    [
        (("BASE", "SPROUT", "OURS"), ALL_PLOTS), (("SPROUT",), ALL_PLOTS - {"mix.png"}),
        (("BASE",), ALL_PLOTS - {"mix.png"}), (("MODEL_OPT",), ALL_PLOTS - {"mix.png"}),
    ],
)  # fmt: skip
def test_plots_are_images_that_the_page_shows(
    recorded: Path, tmp_path: Path, policies: tuple[str, ...], plots: set[str]
) -> None:
    page = written(asked(recorded, *policies), tmp_path)
    assert {file.name for file in tmp_path.glob("*.png")} == plots
    for name in plots:
        assert f"]({name})" in page
        image = (tmp_path / name).read_bytes()
        assert image.startswith(b"\x89PNG\r\n")
        assert len(image) > 5_000


def test_a_workload_whose_preference_is_unknown_leaves_the_plots_whole(tmp_path: Path) -> None:
    rows = contents()
    for row in rows.preferences:
        if row["workload"] == "quiz":
            row["preferred_level"] = 1
    page = written(asked(rows.write(tmp_path / "data"), "SPROUT"), tmp_path / "report")
    assert cells(page, "SPROUT | quiz")[3] == NOT_AVAILABLE


def test_what_the_smaller_model_is_worth_is_not_available(recorded: Path, tmp_path: Path) -> None:
    found = cells(written(asked(recorded, "MODEL_OPT"), tmp_path), "MODEL_OPT")
    assert found[2:5] == [NOT_AVAILABLE, NOT_AVAILABLE, ""]


def test_as_published_ours_stand_beside_the_published_figures(recorded: Path, tmp_path: Path) -> None:
    page = written(asked(recorded, "MODEL_OPT", "ORACLE", as_published=True), tmp_path)
    assert "the future is seen" in page
    found = cells(page, "NORTH | 2023-06 | ORACLE")
    assert (found[4], found[7]) == ("50.0%", "90.0%")
    assert cells(page, "NORTH | 2023-06 | MODEL_OPT")[6] == NOT_AVAILABLE
    assert not list(tmp_path.glob("*.png"))


def test_the_legend_says_what_was_learned_from(recorded: Path) -> None:
    one_half = legend(asked(recorded, "OURS"), [])[0]
    other = legend(asked(recorded, "OURS", fit=Path("/data/elsewhere")), [])[0]
    assert "one random half learned from, the other scored" in one_half
    assert "learned from elsewhere" in other
    assert summarize([]) == []
