from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.simulation.comparison import Comparison
from app.simulation.deferral import Load
from app.simulation.deferral_report import legend, tables_of, write

COMPARISON = Comparison(dataset=Path(), seeds=2)


def a_row(**given: Any) -> dict[str, Any]:
    saving = given.pop("saving", 0.25)
    figures = {"base_g": 4000.0, "saved_g": 4000 * saving, "saving": saving}
    return {
        "zone": "NORTH", "month": "2023-02", "policy": "BASE", "schedule": "carbon", "forecast": "built-in", "seed": 0,
        **figures, **{f"total_{name}": figure / 2 for name, figure in figures.items()},
        "batches": 10, "missed": 0, "told": 0, "missed_promised": 0,
        "preference": 1.0, "worst_preference": 0.9, "device_s_per_request": 5.0, **given,
    }  # fmt: skip


def alone() -> Sequence[dict[str, Any]]:
    savings = {("NORTH", "built-in"): 0.25, ("NORTH", "seasonal-naive"): 0.125, ("NORTH", "perfect"): 0.5,
               ("SOUTH", "built-in"): 0.75, ("SOUTH", "seasonal-naive"): 0.0, ("SOUTH", "perfect"): 0.75}  # fmt: skip
    return [a_row(zone=zone, forecast=kind, saving=saving) for (zone, kind), saving in savings.items()]


def together() -> Sequence[dict[str, Any]]:
    ways = (("BASE", "asap", None, 0.0), ("BASE", "carbon", "built-in", 0.2), ("OURS", "asap", None, 0.5),
            ("OURS", "carbon", "built-in", 0.7))  # fmt: skip
    return [
        a_row(zone=zone, policy=policy, schedule=schedule, forecast=forecast, saving=saving + seed / 10, seed=seed)
        for zone in ("NORTH", "SOUTH")
        for policy, schedule, forecast, saving in ways
        for seed in (0, 1)
    ]


def test_savings_of_every_zone_month_and_their_mean() -> None:
    attributed, total, _ = tables_of(alone())
    assert list(attributed.headings) == ["zone", "at once", "built-in", "seasonal-naive", "perfect"]
    assert [list(line) for line in attributed.lines] == [
        ["NORTH 2023-02", "4 kg", "25.0% 1 kg", "12.5% 0 kg", "50.0% 2 kg"],
        ["SOUTH 2023-02", "4 kg", "75.0% 3 kg", "0.0% 0 kg", "75.0% 3 kg"],
        ["mean", "4 kg", "50.0% 2 kg", "6.2% 0 kg", "62.5% 2 kg"],
    ]
    assert total.lines[0][:3] == ("NORTH 2023-02", "2 kg", "12.5% 0 kg")


def test_how_much_more_the_built_in_forecast_saves() -> None:
    *_, ratios = tables_of(alone())
    assert [list(line) for line in ratios.lines] == [
        ["NORTH 2023-02", "2.00", "0.50"],
        ["SOUTH 2023-02", "-", "1.00"],
        ["mean", "8.00", "0.80"],
    ]
    assert len(tables_of([row for row in alone() if row["forecast"] != "built-in"])) == 2
    assert len(tables_of([row for row in alone() if row["forecast"] == "built-in"])) == 2


def test_one_zone_month_has_no_mean() -> None:
    assert [line[0] for line in tables_of(alone()[:3])[0].lines] == ["NORTH 2023-02"]


def test_directives_and_deferral_stand_beside_each_alone() -> None:
    overall, by_month = tables_of(together())
    assert [list(line) for line in overall.lines] == [
        ["BASE, built-in", "25.0% ± 7.1%", "12.5%", "100.0%", "90.0% ± 0.0%", "5.00", "0"],
        ["OURS", "55.0% ± 7.1%", "27.5%", "100.0%", "90.0% ± 0.0%", "5.00", ""],
        ["OURS, built-in", "75.0% ± 7.1%", "37.5%", "100.0%", "90.0% ± 0.0%", "5.00", "0"],
    ]
    # Three quarters of 45 % would be left.
    assert list(by_month.lines[0]) == ["NORTH 2023-02", "25.0%", "55.0%", "75.0% (66.3%)"]


def test_what_cannot_be_had_is_left_open() -> None:
    overall, _ = tables_of([row | {"preference": None, "worst_preference": None} for row in together()])
    assert overall.lines[0][3:5] == ("-", "-")


def test_the_legend_counts_deadlines() -> None:
    rows = [row | {"missed": 1, "told": 2} for row in alone()]
    text = " ".join(legend(COMPARISON, Load(), rows))
    assert "60 batches: 6 missed their deadline, 0 of them promised; 12 were told" in text
    assert "attributional, average intensity" in text
    assert "seeds" not in text


def test_the_legend_of_directives_names_seeds() -> None:
    rows = [
        row if row["schedule"] == "carbon" else {k: v for k, v in row.items() if k != "missed"} for row in together()
    ]
    text = " ".join(legend(COMPARISON, Load(), rows))
    assert "2 seeds x 2 zone-months" in text
    assert "80 batches" in text


def test_a_page(tmp_path: Path) -> None:
    page = write(tables_of(alone()), ["A note."], tmp_path / "new")
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# Replay of deferral\n\nA note.\n")
    assert "| zone | at once | built-in | seasonal-naive | perfect |\n| --- |" in text
