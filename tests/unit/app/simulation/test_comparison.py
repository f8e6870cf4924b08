from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.domain.errors import ConfigurationError, InvalidInput
from app.domain.optimizer import FloorMode, FloorRule
from app.simulation import comparison as module
from app.simulation import published
from app.simulation.comparison import POLICIES, Comparison, Row, example, halves, run
from app.simulation.dataset import Dataset, load
from app.simulation.outcome import Outcome
from app.simulation.partition import Workloads
from app.simulation.replay import Conditions
from tests.support.recorded import MONTHS, WORKLOADS, contents, grams, published_dataset, record

KEYS = [
    "zone", "month", "policy", "workloads", "floor_mode", "seed", "saving", "preference", "worst_workload",
    "worst_preference", "per_workload", "gold_accuracy", "evaluation_overhead", "rounds", "clean_rounds", "verdicts",
    "grams_per_request",
]  # fmt: skip
MONTH = {"zone": "NORTH", "month": "2023-06", "strata": False}


def one(dataset: Path, policy: str, **choices: Any) -> Row:
    """The row of one policy in one month with one seed."""
    (row,) = run(Comparison(dataset=dataset, policies=(policy,), seeds=1, **{**MONTH, **choices}))
    return row


@pytest.fixture(scope="module")
def rows(recorded: Path) -> Mapping[str, Row]:
    """Every policy in one month, by name."""
    return {row["policy"]: row for row in run(Comparison(dataset=recorded, seeds=1, **MONTH))}


# Rows.


def test_rows_have_these_keys_and_are_json(rows: Mapping[str, Row]) -> None:
    for row in rows.values():
        assert list(row) == KEYS
        json.dumps(row, allow_nan=False)


def test_rows_come_by_month_policy_and_seed(recorded: Path) -> None:
    policies = ("OURS", "SPROUT")
    found = run(Comparison(dataset=recorded, policies=policies, seeds=2, strata=False), processes=1)
    assert [(row["zone"], row["month"], row["policy"], row["seed"]) for row in found] == [
        (zone, month, policy, seed) for zone, month, *_ in MONTHS for policy in ("SPROUT", "OURS") for seed in (0, 1)
    ]


def test_one_process_and_two_find_the_same(recorded: Path) -> None:
    asked = Comparison(dataset=recorded, policies=("SPROUT", "OURS"), seeds=2, strata=False, zone="SOUTH")
    assert run(asked, processes=1) == run(asked, processes=2)


def test_a_policy_finds_the_same_alone_and_in_company(recorded: Path, rows: Mapping[str, Row]) -> None:
    for name in ("SPROUT", "OURS"):
        assert one(recorded, name) == rows[name]


@pytest.mark.parametrize(
    ("choices", "named"),
    [
        ({"policies": ("BASE", "BEST")}, "no policy BEST: choose from BASE"),
        ({"zone": "EAST"}, "zone EAST"),
        ({"month": "2024-01"}, "no month 2024-01"),
    ],
)
def test_an_unknown_name_is_named(recorded: Path, choices: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidInput, match=named):
        run(Comparison(dataset=recorded, seeds=1, **choices))


def test_a_dataset_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="nowhere"):
        run(Comparison(dataset=tmp_path / "nowhere", seeds=1))


def test_only_ours_tells_workloads_apart(rows: Mapping[str, Row]) -> None:
    assert (rows["OURS"]["workloads"], rows["OURS"]["floor_mode"]) == ("declared", "per-workload")
    for name in set(POLICIES) - {"OURS"}:
        assert (rows[name]["workloads"], rows[name]["floor_mode"]) == ("none", "service")


# Figures.


def test_base_saves_nothing_and_loses_nothing(rows: Mapping[str, Row]) -> None:
    base = rows["BASE"]
    assert (base["saving"], base["evaluation_overhead"], base["rounds"], base["verdicts"]) == (0, 0, 0, 0)
    assert (base["preference"], base["worst_preference"]) == (1, 1)
    assert base["per_workload"].keys() == set(WORKLOADS)
    for figures in base["per_workload"].values():
        assert (figures["saving"], figures["preference"]) == (0, 1)
    for figures in base["gold_accuracy"].values():
        assert figures["accuracy"] == figures["at_l0"]


def test_the_worst_workload_is_the_one_of_least_preference(rows: Mapping[str, Row]) -> None:
    for name in set(POLICIES) - {"MODEL_OPT", "BASE"}:
        by_workload = {workload: figures["preference"] for workload, figures in rows[name]["per_workload"].items()}
        assert rows[name]["worst_workload"] == min(by_workload, key=by_workload.__getitem__)
        assert rows[name]["worst_preference"] == min(by_workload.values())


def test_only_workloads_whose_references_can_be_checked_have_an_accuracy(rows: Mapping[str, Row]) -> None:
    assert rows["OURS"]["gold_accuracy"].keys() == {"sums", "quiz"}
    assert rows["CO2_OPT"]["gold_accuracy"]["sums"]["accuracy"] < rows["BASE"]["gold_accuracy"]["sums"]["accuracy"]


def test_what_the_smaller_model_is_worth_is_not_known(rows: Mapping[str, Row]) -> None:
    row = rows["MODEL_OPT"]
    assert row["saving"] > 0
    assert (row["preference"], row["worst_workload"], row["worst_preference"]) == (None, None, None)
    assert row["gold_accuracy"] == {}


def test_the_oracle_saves_most_of_what_keeps_the_floor(rows: Mapping[str, Row]) -> None:
    assert rows["ORACLE"]["saving"] > rows["SPROUT"]["saving"] > 0
    assert rows["CO2_OPT"]["saving"] > rows["OURS"]["saving"] > 0


def test_evaluation_is_charged(captured: Mapping[str, tuple[Row, Outcome]]) -> None:
    for name in ("CO2_OPT", "SPROUT", "SPROUT_STA", "OURS"):
        row, outcome = captured[name]
        served, base = outcome.served_g.sum(), outcome.base_g.sum()
        assert outcome.evaluation_g > 0
        assert row["saving"] == pytest.approx(1 - (served + outcome.evaluation_g) / base)
        assert row["saving"] < 1 - served / base
        assert row["evaluation_overhead"] == pytest.approx(outcome.evaluation_g / served)
        assert 0 < row["evaluation_overhead"] <= 0.01
        assert row["grams_per_request"] == pytest.approx((served + outcome.evaluation_g) / (48 * 10_000))


def test_grams_by_workload_add_up_to_all(captured: Mapping[str, tuple[Row, Outcome]]) -> None:
    for row, outcome in captured.values():
        grams_of = [figures["grams_per_request"] for figures in row["per_workload"].values()]
        assert np.dot(grams_of, outcome.requests) == pytest.approx(outcome.served_g.sum())
        assert outcome.served_by_workload.sum(axis=0) == pytest.approx([outcome.served_g.sum(), outcome.base_g.sum()])


def test_all_figures_are_those_of_every_single_request(
    recorded: Path, captured: Mapping[str, tuple[Row, Outcome]]
) -> None:
    """SPROUT's, which has one mix for all; reckoned without a matrix."""
    row, outcome = captured["SPROUT"]
    dataset, (_, score) = load(recorded), halves(Comparison(dataset=recorded), 0)
    sums = np.zeros((3, 6))
    for hour in range(48):
        intensity = dataset.intensity["NORTH"][900 + hour]
        for index in range(len(score)):
            workload = int(score.workload[index])
            number = dataset.traffic[hour, workload] / int((score.workload == workload).sum())
            prices = [grams(*use, intensity) for use in zip(score.energy_j[index], score.device_s[index], strict=True)]
            mix = outcome.mixes[hour, 0]
            picked, right = score.pick[index], score.correct[index]
            found = np.dot(mix, prices), prices[0], mix[picked], picked == 0, np.dot(mix, right), right[0]
            sums[workload] += number * np.array(found, dtype=float)
    spent, base, picked, picked_l0, right, right_l0 = sums.T
    evaluation = outcome.evaluation_g / 10_000
    assert row["saving"] == pytest.approx(1 - (spent.sum() + evaluation) / base.sum())
    assert row["preference"] == pytest.approx(picked.sum() / picked_l0.sum())
    for index, workload in enumerate(WORKLOADS):
        figures = row["per_workload"][workload]
        assert figures["saving"] == pytest.approx(1 - spent[index] / base[index])
        assert figures["preference"] == pytest.approx(picked[index] / picked_l0[index])
    traffic = dataset.traffic[:48].sum(axis=0)
    for index, workload in enumerate(("sums", "quiz")):
        figures = row["gold_accuracy"][workload]
        assert figures["accuracy"] == pytest.approx(right[index] / traffic[index])
        assert figures["at_l0"] == pytest.approx(right_l0[index] / traffic[index])


def test_a_workload_without_traffic_is_left_out(tmp_path: Path) -> None:
    rows = contents()
    for row in rows.composition:
        row["quiz"] = 0.0
    for name in ("BASE", "MODEL_OPT", "SPROUT", "ORACLE", "OURS"):
        row = one(rows.write(tmp_path), name)
        assert row["per_workload"].keys() == {"sums", "letters"}
        assert row["gold_accuracy"].keys() <= {"sums"}
        assert row["worst_workload"] in ("sums", "letters", None)
        json.dumps(row, allow_nan=False)


def test_a_judge_that_never_picked_l0(tmp_path: Path) -> None:
    rows = contents()
    for row in rows.preferences:
        row["preferred_level"] = 1
    for name in ("BASE", "OURS", "ORACLE"):
        row = one(rows.write(tmp_path), name)
        assert (row["preference"], row["worst_workload"]) == (None, None)
        json.dumps(row, allow_nan=False)


def test_ours_follows_its_options(recorded: Path) -> None:
    assert one(recorded, "OURS", rule=FloorRule(kept_at_l0=1.0))["saving"] < 0.001
    strict, lax = (one(recorded, "OURS", rule=FloorRule(xi=xi))["saving"] for xi in (0.0, 0.9))
    assert strict < lax
    unsure, sure = (one(recorded, "OURS", confidence=confidence)["saving"] for confidence in (0.5, 0.999))
    assert sure < unsure
    for mode in FloorMode:
        assert one(recorded, "OURS", rule=FloorRule(mode=mode))["floor_mode"] == mode
    few, many = (one(recorded, "OURS", conditions=Conditions(requests_per_hour=n))["verdicts"] for n in (10, 10_000))
    assert few < many


# Nothing sees the future.


@pytest.fixture
def outcomes(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a comparison on a dataset at hand and keeps what lies behind each row."""

    def ran(dataset: Dataset, asked: Comparison) -> Mapping[str, tuple[Row, Outcome]]:
        found: dict[str, tuple[Row, Outcome]] = {}
        row_of = module.row_of

        def keeping(*arguments: Any) -> Row:
            row = row_of(*arguments)
            found[row["policy"]] = row, arguments[-1]
            return row

        with monkeypatch.context() as patch:
            patch.setattr(module, "dataset_of", lambda _: dataset)
            patch.setattr(module, "row_of", keeping)
            run(asked, processes=1)
        return found

    return ran


@pytest.fixture
def captured(outcomes: Any, recorded: Path) -> Iterator[Mapping[str, tuple[Row, Outcome]]]:
    return outcomes(load(recorded), Comparison(dataset=recorded, seeds=1, **MONTH))


def test_no_policy_is_touched_by_later_hours(outcomes: Any, recorded: Path) -> None:
    dataset, asked = load(recorded), Comparison(dataset=recorded, seeds=1, **MONTH)
    hour, rng = 20, np.random.default_rng(5)
    later = {
        zone: np.where(np.arange(1000) > 900 + hour, rng.uniform(0, 1e4, 1000), i)
        for zone, i in dataset.intensity.items()
    }
    shares = np.where(np.arange(60)[:, None] > hour, rng.dirichlet([1.0] * 3, 60), dataset.traffic)
    as_it_was, changed = (
        outcomes(each, asked) for each in (dataset, replace(dataset, intensity=later, traffic=shares))
    )
    assert as_it_was.keys() == changed.keys() == set(POLICIES)
    for name in POLICIES:
        before, after = as_it_was[name][1].mixes, changed[name][1].mixes
        assert (before[: hour + 1] == after[: hour + 1]).all(), name
    for name in ("SPROUT", "ORACLE", "MODEL_OPT", "OURS"):
        assert (as_it_was[name][1].mixes[hour + 1 :] != changed[name][1].mixes[hour + 1 :]).any(), name


def test_hours_after_the_month_are_not_looked_at(outcomes: Any, recorded: Path) -> None:
    dataset, asked = load(recorded), Comparison(dataset=recorded, seeds=1, **MONTH)
    unknown = {zone: np.where(np.arange(1000) >= 948, np.nan, hours) for zone, hours in dataset.intensity.items()}
    as_it_was, changed = (outcomes(each, asked) for each in (dataset, replace(dataset, intensity=unknown)))
    for name in POLICIES:
        assert as_it_was[name][0] == changed[name][0]


# Halves.


def test_halves_share_nothing_and_leave_nothing_out(recorded: Path) -> None:
    whole = load(recorded).recording
    for seed in range(3):
        fit, score = halves(Comparison(dataset=recorded), seed)
        assert not set(fit.request_ids) & set(score.request_ids)
        assert {*fit.request_ids, *score.request_ids} == set(whole.request_ids)
        assert abs(len(fit) - len(score)) <= 1


def test_halves_depend_on_the_seed_alone(recorded: Path) -> None:
    asked = Comparison(dataset=recorded)
    first, again, other = (halves(asked, seed)[0].request_ids for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_another_dataset_to_learn_from_is_used_whole(recorded: Path, tmp_path: Path) -> None:
    other = record(tmp_path, seed=7, per_workload=40)
    fit, score = halves(Comparison(dataset=recorded, fit=other), 3)
    assert fit.request_ids == load(other).recording.request_ids
    assert score.request_ids == load(recorded).recording.request_ids
    assert one(recorded, "OURS", fit=other)["verdicts"] == 120


def test_datasets_that_disagree_are_refused(recorded: Path, tmp_path: Path) -> None:
    other = record(tmp_path, per_workload=5, workloads=("sums", "quiz"))
    with pytest.raises(InvalidInput, match=r"has the workloads sums, quiz at 3 levels, .* they must agree"):
        halves(Comparison(dataset=recorded, fit=other), 0)


# Classes.


@pytest.mark.parametrize(
    ("workloads", "strata"), [(Workloads.DISCOVERED, True), (Workloads.DECLARED, True), (Workloads.NONE, True)]
)
def test_classes_of_prompts(recorded: Path, workloads: Workloads, strata: bool) -> None:
    row = one(recorded, "OURS", workloads=workloads, strata=strata)
    assert row["workloads"] == workloads
    assert row["saving"] > 0


def test_too_few_prompts_to_discover_classes(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="at least 100 prompts; there are 30"):
        one(record(tmp_path, per_workload=20), "OURS", workloads=Workloads.DISCOVERED)


def test_an_example_shows_every_hour(recorded: Path) -> None:
    shown = example(Comparison(dataset=recorded, seeds=1, **MONTH))
    assert (shown.month.zone, shown.month.month) == ("NORTH", "2023-06")
    assert shown.intensity.shape == (48,)
    assert shown.class_traffic.sum(axis=1) == pytest.approx(1)
    assert shown.outcome.mixes.shape == (48, shown.class_traffic.shape[1], 3)


# As published.


def test_rows_as_published_stand_beside_the_published_figures(recorded: Path) -> None:
    found = {row["policy"]: row for row in run(Comparison(dataset=recorded, seeds=1, as_published=True, **MONTH))}
    assert found.keys() == set(POLICIES) - {"OURS"}
    assert found["MODEL_OPT"]["published_saving"] == pytest.approx(0.2)
    assert found["ORACLE"]["published_preference"] == pytest.approx(0.9)
    json.dumps(list(found.values()), allow_nan=False)


def test_ours_was_never_published(recorded: Path) -> None:
    with pytest.raises(InvalidInput, match="OURS"):
        run(Comparison(dataset=recorded, seeds=1, as_published=True, policies=("OURS",), **MONTH))


def test_a_policy_without_published_figures(tmp_path: Path) -> None:
    rows = contents()
    rows.published = [row for row in rows.published if row["policy"] != "lp"]
    with pytest.raises(InvalidInput, match="SPROUT"):
        one(rows.write(tmp_path), "SPROUT", as_published=True)


def test_recorded_measurements_replay_within_what_was_published(monkeypatch: pytest.MonkeyPatch) -> None:
    # A tenth of ORACLE's prompts: its means over a month are the same to a fraction of a percent.
    monkeypatch.setattr(published, "ORACLE_PROMPTS", 1000)
    dataset = published_dataset()
    month = load(dataset).months[0]
    asked = Comparison(
        dataset=dataset, zone=month.zone, month=month.month, seeds=1, as_published=True,
        policies=("BASE", "CO2_OPT", "SPROUT_STA", "SPROUT", "ORACLE"),
    )  # fmt: skip
    for row in run(asked):
        # The published SPROUT is one draw of rounds; the others hardly depend on what is drawn.
        near = 0.1 if row["policy"].startswith("SPROUT") else 0.01
        assert row["saving"] == pytest.approx(row["published_saving"], abs=near), row["policy"]
        assert row["preference"] == pytest.approx(row["published_preference"], abs=0.04), row["policy"]
        if row["policy"] == "ORACLE":
            assert row["realised_preference"] < row["preference"] - 0.005
