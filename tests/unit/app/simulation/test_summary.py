from __future__ import annotations

import math
from typing import Any

import pytest

from app.simulation.summary import Spread, policies, reproduced, spread, summarize


def row(policy: str = "OURS", seed: int = 0, **changes: Any) -> dict[str, Any]:
    return {
        "zone": "NORTH", "month": "2023-02", "policy": policy, "workloads": "declared", "floor_mode": "per-workload",
        "seed": seed, "saving": 0.5, "preference": 1.0, "worst_workload": "quiz", "worst_preference": 0.9,
        "evaluation_overhead": 0.01, "rounds": 10, "clean_rounds": 0.5, "grams_per_request": 0.02, **changes,
    }  # fmt: skip


FOUR = [
    row(seed=0, saving=0.2), row(seed=0, saving=0.4, month="2023-06"),
    row(seed=1, saving=0.4), row(seed=1, saving=0.6, month="2023-06"),
]  # fmt: skip


def test_the_spread_is_that_between_seeds_and_the_lower_bound_that_of_runs() -> None:
    found = spread(FOUR, "saving")
    # Seeds have 0.3 and 0.5; of 0.2, 0.4, 0.4, 0.6 the tenth percentile lies 0.3 of the way to the second.
    assert found is not None
    assert found.mean == pytest.approx(0.4)
    assert found.sd == pytest.approx(math.sqrt(0.02))
    assert found.lower == pytest.approx(0.26)
    assert str(found) == "40.0% ± 14.1%"


def test_runs_without_a_round_do_not_count_among_clean_rounds() -> None:
    (found,) = summarize([row(clean_rounds=0.8), row(clean_rounds=None, rounds=0, month="2023-06")])
    assert found.clean_rounds is not None
    assert found.clean_rounds.mean == 0.8
    assert summarize([row(clean_rounds=None)])[0].clean_rounds is None


def test_one_seed_has_no_spread() -> None:
    assert spread(FOUR[:2], "saving") == Spread(mean=pytest.approx(0.3), sd=0.0, lower=pytest.approx(0.22))


def test_what_is_not_available() -> None:
    assert spread([row(preference=None), row(seed=1, preference=None)], "preference") is None


def test_runs_without_the_figure_do_not_count() -> None:
    found = spread([row(preference=0.8), row(preference=None), row(seed=1, preference=None)], "preference")
    assert found == Spread(mean=0.8, sd=0.0, lower=0.8)


def test_a_line_for_each_policy() -> None:
    rows = [row("BASE", saving=0.0), *FOUR]
    assert policies(rows) == ["BASE", "OURS"]
    base, ours = summarize(rows)
    assert (base.policy, base.runs, base.saving.mean) == ("BASE", 1, 0.0)
    assert (ours.policy, ours.runs) == ("OURS", 4)
    assert (ours.workloads, ours.floor_mode) == ("declared", "per-workload")


def test_means_over_runs_and_the_workload_that_was_worst_in_most() -> None:
    rows = [
        row(seed=0, rounds=4, evaluation_overhead=0.0, grams_per_request=0.01, worst_preference=0.5),
        row(seed=1, worst_workload="sums", worst_preference=0.7),
        row(seed=2, rounds=16, worst_preference=0.9),
    ]
    (found,) = summarize(rows)
    assert found.worst_workload == "quiz (67%)"
    assert found.worst is not None
    assert found.worst.mean == pytest.approx(0.7)
    assert found.rounds == 10
    assert found.overhead == pytest.approx(0.02 / 3)
    assert found.grams_per_request == pytest.approx(0.05 / 3)


def test_a_policy_without_preferences_has_no_worst_workload() -> None:
    (found,) = summarize([row(preference=None, worst_workload=None, worst_preference=None)])
    assert (found.preference, found.worst, found.worst_workload) == (None, None, "")


@pytest.mark.parametrize(("published", "outside"), [(0.3, False), (0.404, False), (0.41, True), (0.19, True)])
def test_published_figures_beside_ours(published: float, outside: bool) -> None:
    rows = [row(seed=seed, saving=saving) for seed, saving in enumerate((0.2, 0.3, 0.4))]
    rows = [{**each, "published_saving": published, "published_preference": 0.95} for each in rows]
    (found,) = reproduced(rows)
    assert found.saving.mean == pytest.approx(0.3)
    assert (found.published_saving, found.published_preference) == (published, 0.95)
    assert found.within == "20.0% to 40.0%" + " (outside)" * outside
