from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from app.cli.tables import energy, grams, notes, show_reports
from app.services.l0_cost import L0Method

WH = 3600.0


def level(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "workload": "default", "level": number, "answered": True, "requests": 2, "prompt_tokens": 40,
        "completion_tokens": 20, "energy_j": 10 * WH, "device_s": 1.0, "operational_g": 4.0, "embodied_g": 1.0,
        "drawn": 2, "pinned_energy_j": 0.0, "pinned_g": 0.0, "intensity_basis": "lifecycle-average",
        "first_operational_g": None, **changes,
    }  # fmt: skip


def estimate(**changes: Any) -> dict[str, Any]:
    return {
        "workload": "default", "method": L0Method.RANDOMISED.value, "requests": 9, "energy_j": 40 * WH,
        "energy_j_interval": [30 * WH, 50 * WH], "footprint_g": 20.0, "footprint_g_interval": [15.0, 25.0], **changes,
    }  # fmt: skip


def priced(origin: str, requests: int, basis: str = "lifecycle-average") -> dict[str, Any]:
    return {"basis": basis, "origin": origin, "requests": requests}


def report(levels: list[dict[str, Any]], l0: list[dict[str, Any]] | None = None, **changes: Any) -> dict[str, Any]:
    return {
        "levels": levels,
        "l0": [estimate()] if l0 is None else l0,
        "machines": {"energy_j": 0.0, "idle_energy_j": 0.0, "idle_device_s": 0.0},
        "mixes": {},
        "energy_bases": ["modelled"],
        "intensity_bases": ["lifecycle-average"],
        "intensity_origins": [priced("measured", 2)],
        "hindsight": None,
        **changes,
    }


def hindsight(**changes: Any) -> dict[str, Any]:
    return {
        "schedule": "carbon", "planned_g": 4.0, "actual_g": 5.0, "share_as_planned": 0.75, "at_once_g": 9.0,
        "cleanest_g": 4.5, "intensity_basis": "lifecycle-average", **changes,
    }  # fmt: skip


def shown(*reports: dict[str, Any]) -> list[str]:
    console = Console(file=io.StringIO(), width=200)
    show_reports(console, reports)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def row(lines: list[str], *start: str) -> list[str]:
    (found,) = [line.split() for line in lines if line.split()[: len(start)] == list(start)]
    return found[len(start) :]


def said(*reports: dict[str, Any]) -> str:
    answered = [entry for one in reports for entry in one["levels"] if entry["answered"]]
    return "\n".join(notes(reports, answered))


def test_rows_add_up_over_reports() -> None:
    first = report([level(0), level(2, requests=3, completion_tokens=3, energy_j=1 * WH)])
    second = report([level(0, requests=4, completion_tokens=100), level(1, workload="mail")])
    lines = shown(first, second)
    assert row(lines, "default", "L0") == ["6", "80", "120", "20.0", "20.000", "Wh", "10.00", "g"]
    assert row(lines, "default", "L2") == ["3", "40", "3", "1.0", "1.000", "Wh", "5.00", "g"]
    assert row(lines, "mail", "L1") == ["2", "40", "20", "10.0", "10.000", "Wh", "5.00", "g"]
    assert row(lines, "answered") == ["11", "160", "143", "13.0", "31.000", "Wh", "20.00", "g"]
    assert not any("failed" in line for line in lines)


def test_failed_requests_have_a_row_of_their_own() -> None:
    lines = shown(report([level(0), level(1, answered=False, requests=5, completion_tokens=0, energy_j=WH)]))
    assert row(lines, "failed") == ["5", "40", "0", "0.0", "1.000", "Wh", "5.00", "g"]
    assert row(lines, "answered")[0] == "2"


def test_a_run_without_answers() -> None:
    lines = shown(report([], [], energy_bases=[], intensity_bases=[], intensity_origins=[]))
    assert row(lines, "answered") == ["0", "0", "0", "-", "0.000", "Wh", "0.00", "mg"]
    text = "\n".join(lines)
    assert "Energy is not known" in text
    assert "L0" not in text


@pytest.mark.parametrize(
    ("joules", "text"), [(0, "0.000 Wh"), (3.6, "0.001 Wh"), (999 * WH, "999.000 Wh"), (1000 * WH, "1.000 kWh")]
)
def test_energy_as_people_read_it(joules: float, text: str) -> None:
    assert energy(joules) == text


@pytest.mark.parametrize(
    ("amount", "text"), [(0, "0.00 mg"), (0.0123, "12.30 mg"), (1, "1.00 g"), (-0.5, "-500.00 mg"), (-5, "-5.00 g")]
)
def test_grams_as_people_read_them(amount: float, text: str) -> None:
    assert grams(amount) == text


@pytest.mark.parametrize(
    ("bases", "text"),
    [
        (["measured"], "Energy is measured; "),
        (["modelled"], "Energy is modelled (from watts in the settings and CPU time, no sensor); "),
        (["measured", "modelled"], "Energy is measured and modelled (from watts"),
    ],
)
def test_where_energy_comes_from(bases: list[str], text: str) -> None:
    assert text in said(report([level(0)], energy_bases=bases))


def test_what_l0_would_have_cost_is_an_estimate_with_an_interval() -> None:
    text = said(report([level(2)]))
    assert "L0 would have cost (estimate) 40.000 Wh and 20.00 g, 90 % interval 15.00 g to 25.00 g" in text
    assert ": this run used 75% (15.00 g) less. Rests on: requests of this batch drawn at L0" in text


def test_estimates_are_summed() -> None:
    one = report([level(2), level(1, workload="mail")], [estimate(), estimate(workload="mail", footprint_g=30.0)])
    text = said(one, report([level(2)], [estimate(footprint_g=50.0)]))
    assert "and 100.00 g, 90 % interval 45.00 g to 75.00 g: this run used 85% (85.00 g) less" in text


def test_more_than_l0_is_no_saving() -> None:
    text = said(report([level(1, operational_g=24.0)]))
    assert ": this run used 25% (5.00 g) more, which is within the interval." in text


def test_a_prior_claims_no_saving() -> None:
    text = said(report([level(2)], [estimate(method=L0Method.PRIOR.value, footprint_g_interval=None)]))
    assert "Nothing is claimed as saved: this rests on a prior, not measured: the paper's ratios" in text
    assert "interval" not in text


def test_pinned_levels_save_nothing() -> None:
    text = said(report([level(2)], [estimate(method=L0Method.PINNED.value)]))
    assert "not estimated, because every level was pinned" in text
    assert "saved" not in text


@pytest.mark.parametrize(
    "reports",
    [
        [report([level(2)], [])],
        [report([level(2), level(2, workload="mail")])],
        [report([level(2)], []), report([level(0)])],
    ],
    ids=["none", "a workload without", "a report without"],
)
def test_an_estimate_of_a_part_is_none(reports: list[dict[str, Any]]) -> None:
    text = said(*reports)
    assert "What L0 would have cost: not known yet" in text
    assert "saved" not in text


def test_what_the_machines_used_meanwhile() -> None:
    machines = {"energy_j": 50 * WH, "idle_energy_j": 15 * WH, "idle_device_s": 1.0}
    text = said(report([level(0), level(1, answered=False)], machines=machines))
    assert (
        "metered 50.000 Wh meanwhile: 20.000 Wh for this run, 15.000 Wh idle, 15.000 Wh other, repeated or aborted"
        in text
    )


def test_mixes_say_what_they_rest_on() -> None:
    mix = {"probabilities": [0.01, 0.2, 0.79], "evidence": "prior, not measured", "mixes": 1}
    text = said(report([level(2)], mixes={"default": mix, "mail": {**mix, "mixes": 3}}))
    shares = "L0 1%, L1 20%, L2 79%; evidence of its quality: prior, not measured."
    assert f"Directive mix of default now: {shares}" in text
    assert f"Directive mix of mail now, mean of 3 classes of its prompts: {shares}" in text


def test_how_the_figures_were_had_that_priced_a_run() -> None:
    assert "; carbon intensity: lifecycle-average; footprint" in said(report([level(0)]))
    first = report([level(0)], intensity_origins=[priced("measured", 25), priced("forecast", 12)])
    text = said(first, report([level(0)], intensity_origins=[priced("zone mean", 3)]))
    assert (
        "carbon intensity: lifecycle-average; 12 of 40 requests priced with a forecast; 3 of 40 requests priced with "
        "the zone's mean; footprint"
    ) in text


def test_figures_on_two_bases_are_shown_apart_and_never_summed() -> None:
    rows = [level(0), level(0, intensity_basis="direct-average", requests=7, operational_g=1.0)]
    failed = level(0, answered=False, requests=1, intensity_basis="")
    lines = shown(
        report([*rows, failed], intensity_origins=[priced("measured", 2), priced("measured", 7, "direct-average")])
    )
    titles = [line for line in lines if line.startswith("What this run used")]
    assert [title.split()[-1] for title in titles] == ["direct-average", "lifecycle-average"]
    assert [line.split() for line in lines if line.split()[:1] == ["answered"]] == [
        ["answered", "7", "40", "20", "2.9", "10.000", "Wh", "2.00", "g"],
        ["answered", "2", "40", "20", "10.0", "10.000", "Wh", "5.00", "g"],
    ]
    assert sum(line.split()[:1] == ["failed"] for line in lines) == 1
    text = "\n".join(lines)
    assert "carbon intensity: direct-average and lifecycle-average;" in text
    assert "What L0 would have cost: not estimated. Figures on the bases direct-average and lifecycle-average" in text


def test_two_reports_on_two_bases_have_no_common_estimate() -> None:
    other = report(
        [level(2, intensity_basis="direct-average")], intensity_origins=[priced("measured", 2, "direct-average")]
    )
    assert "not estimated. Figures on the bases" in said(report([level(2)]), other)


def test_what_was_priced_anew_says_what_it_was_priced_at_first() -> None:
    text = said(report([level(0, first_operational_g=2.5), level(1)]))
    assert (
        "(lifecycle-average): 4.00 g operational, first priced at 2.50 g. Output files keep the first figures." in text
    )
    assert "first priced" not in said(report([level(0)]))


def test_what_waiting_brought() -> None:
    text = said(report([level(0)], hindsight=hindsight()))
    assert (
        "It waited for cleaner hours: 5.00 g, planned were 4.00 g; 75% of the requests ran in the hours of the first "
        "plan. Run at once, the same would have been 9.00 g (estimate). Forecast errors and lack of room cost "
        "500.00 mg. Attributional, lifecycle-average."
    ) in text


def test_what_is_not_known_of_waiting_is_not_said() -> None:
    text = said(report([level(0)], hindsight=hindsight(at_once_g=None, cleanest_g=None)))
    assert "hours of the first plan. Attributional, lifecycle-average." in text
    assert "Run at once" not in text


def test_better_than_the_best_costs_nothing() -> None:
    """The least that was possible is reckoned with the energy of the mean request."""
    text = said(report([level(0)], hindsight=hindsight(cleanest_g=5.5)))
    assert "Forecast errors and lack of room cost 0.00 mg." in text


@pytest.mark.parametrize("found", [None, hindsight(schedule="asap")])
def test_a_run_that_did_not_wait_says_nothing_of_waiting(found: dict[str, Any] | None) -> None:
    assert "waited" not in said(report([level(0)], hindsight=found))


def test_every_batch_of_a_run_says_what_waiting_brought() -> None:
    text = said(report([level(0)], hindsight=hindsight()), report([level(0)], hindsight=hindsight(actual_g=7.0)))
    assert [line.split(",")[0] for line in text.splitlines() if "waited" in line] == [
        "It waited for cleaner hours: 5.00 g",
        "It waited for cleaner hours: 7.00 g",
    ]
