from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from app.domain.arrays import Floats
from app.domain.batch import Schedule
from app.domain.errors import InvalidInput
from app.domain.expected_use import NODES
from app.domain.optimizer import FloorRule
from app.domain.policy import Base, Decision, DirectivePolicy, Observation, Policy
from app.simulation.comparison import Comparison, Row
from app.simulation.comparison import run as compare
from app.simulation.deferral import WINDOW_H, Load, Stretch
from app.simulation.foresight import Forecasts, foresight
from app.simulation.partition import Workloads, partition
from app.simulation.replay import Conditions
from app.simulation.together import ASKED_EVERY_H, Asking, Expected, Served, run, serve
from tests.support.recorded import a_recording

FIT = a_recording([0, 1] * 40, [0, 1, 2, 0, 1] * 16)
SCORE = a_recording([0, 1, 1] * 10, [2, 1, 0, 0, 1] * 6)
SMALL = Load(requests_per_hour=1000, shards=5, capacity=4.0)
"""FIT has it that requests take half as long again as those of SCORE."""
HOURS, START = 36, 96


def ours() -> DirectivePolicy:
    return DirectivePolicy(name="OURS", rule=FloorRule(), confidence=0.6)


def stretch() -> Stretch:
    time = np.arange(START + HOURS + WINDOW_H)
    intensity = 200 + 100 * np.cos(time * np.pi / 12) + np.random.default_rng(0).uniform(0, 20, len(time))
    return Stretch(zone="Z", month="M", intensity=intensity, start=START, hours=HOURS)


def traffic() -> Floats:
    return np.random.default_rng(1).dirichlet([20.0, 20.0], HOURS)


def served(policy: Policy, own: Stretch | None = None) -> Served:
    parts = partition(FIT, SCORE, Workloads.DECLARED, strata=False)
    conditions = Conditions(requests_per_hour=SMALL.requests_per_hour)
    rng = np.random.default_rng(0)
    return serve(policy, own or stretch(), traffic(), FIT, SCORE, parts, conditions, SMALL, rng)


@dataclass(kw_only=True)
class Counting:
    """A policy that keeps the intensities it is asked at."""

    name: str = "COUNTING"
    asked: list[float] = field(default_factory=list)

    def decide(self, seen: Observation) -> Decision:
        self.asked.append(seen.intensity_g_per_kwh)
        share = seen.intensity_g_per_kwh / 1000
        return Decision(mixes={known.workload: (1 - share, share, 0.0) for known in seen.workloads})


# What is expected of other hours.


def test_a_policy_is_asked_at_a_few_intensities_of_the_past_every_six_hours() -> None:
    counting, own = Counting(), stretch()
    found = served(counting, own)
    assert len(found.curves) == HOURS + WINDOW_H
    assert len(counting.asked) == len(found.curves) + NODES * len(range(0, len(found.curves), ASKED_EVERY_H))
    past = own.intensity[: START + ASKED_EVERY_H + 1]
    assert found.curves[ASKED_EVERY_H].intensity.tolist() == np.linspace(past.min(), past.max(), NODES).tolist()
    assert found.curves[ASKED_EVERY_H - 1] is found.curves[0]


def test_an_hour_to_come_is_expected_to_have_the_mix_of_its_intensity() -> None:
    policy = Asking(policy=Base())
    found = served(policy)
    curve = found.curves[-1]
    for index in (0, 1):
        mean_s = FIT.device_s[FIT.workload == index, 0].mean()
        assert curve.device_s[:, index].tolist() == pytest.approx([mean_s] * NODES)
    assert policy.name == "BASE"


def test_demand_follows_the_forecast() -> None:
    own = stretch()
    found = served(Counting(), own)
    outlook = Expected(
        curves=found.curves, classes=found.classes, site=found.site, stretch=own,
        foresight=foresight(Forecasts.PERFECT, own.intensity),
    )  # fmt: skip
    (demand,) = outlook.demands(12, [10], 24)
    intensity = own.intensity[START + 12 : START + 36]
    # More of the traffic has directives in dirty hours, and is shorter there.
    assert (np.argsort(demand.device_s) == np.argsort(-intensity)).all()
    assert demand.cleanest_s >= demand.device_s.max() - 1e-9


# The bill.


def test_without_moving_and_directives_nothing_is_saved() -> None:
    found = served(Base())
    outcome = found.outcome(found.arrived)
    assert outcome.served_g.tolist() == pytest.approx(outcome.base_g.tolist())
    assert outcome.requests.sum() == pytest.approx(HOURS * SMALL.requests_per_hour)
    assert not outcome.base_g[HOURS:].any()


def test_moved_work_is_served_with_the_mix_of_the_hour_in_which_it_runs() -> None:
    found = served(ours())
    moved = np.roll(found.arrived, 5, axis=0)
    outcome = found.outcome(moved)
    energy_j, device_s = found.bill.uses(found.mixes)
    hardware = found.bill.hardware
    for hour in (5, 30, 40):
        operational = (moved[hour] * energy_j[hour]).sum() / 3.6e6 * found.stretch.now[hour]
        embodied = (moved[hour] * device_s[hour]).sum() * hardware.embodied_g_per_device_s
        assert outcome.served_g[hour] == pytest.approx(operational + embodied)
    assert outcome.base_g.tolist() == found.outcome(found.arrived).base_g.tolist()
    assert found.grams(moved, found.mixes)[0] == pytest.approx(outcome.served_g.sum())


def test_machines_are_for_the_busiest_hour_without_directives() -> None:
    found = served(ours())
    l0_s = [SCORE.device_s[SCORE.workload == index, 0].mean() for index in (0, 1)]
    busiest_s = (traffic() @ l0_s).max() * SMALL.requests_per_hour
    assert found.site.devices == pytest.approx(4 * busiest_s / 3600)
    assert served(Base()).site.devices == pytest.approx(found.site.devices)


@pytest.mark.parametrize("policy", [Base(), ours(), Counting()], ids=["BASE", "OURS", "COUNTING"])
@pytest.mark.parametrize("kind", [Forecasts.BUILT_IN, Forecasts.SEASONAL_NAIVE, Forecasts.PERFECT])
def test_all_work_runs_in_time(policy: Policy, kind: Forecasts) -> None:
    own = stretch()
    found = served(policy, own)
    rolling = found.defer(foresight(kind, own.intensity))
    assert rolling.ran.sum() == pytest.approx(HOURS * SMALL.requests_per_hour)
    assert not rolling.missed.any()
    assert not rolling.told.any()


def test_later_hours_are_not_looked_at() -> None:
    own, now = stretch(), 20
    blind = replace(own, intensity=np.where(np.arange(len(own.intensity)) > START + now, 1e4, own.intensity))
    as_it_was, changed = (
        served(ours(), each).defer(foresight(Forecasts.BUILT_IN, each.intensity)).ran for each in (own, blind)
    )
    assert as_it_was[:, : now + 1].tolist() == changed[:, : now + 1].tolist()


# Over a dataset.


@pytest.fixture(scope="module")
def comparison(recorded: Path) -> Comparison:
    conditions = Conditions(requests_per_hour=1000)
    return Comparison(
        dataset=recorded,
        policies=("OURS",),
        strata=False,
        conditions=conditions,
        zone="NORTH",
        month="2023-02",
        seeds=1,
    )


@pytest.fixture(scope="module")
def rows(comparison: Comparison) -> Sequence[Row]:
    return run(comparison, SMALL, (Forecasts.BUILT_IN, Forecasts.PERFECT))


def way(row: Row) -> tuple[str, str, str | None]:
    return row["policy"], row["schedule"], row["forecast"]


def test_rows_at_once_and_by_forecast_with_base_beside(rows: Sequence[Row]) -> None:
    assert [way(row) for row in rows] == [
        (policy, schedule, forecast)
        for policy in ("BASE", "OURS")
        for schedule, forecast in (("asap", None), ("carbon", "built-in"), ("carbon", "perfect"))
    ]
    assert json.loads(json.dumps(rows)) == rows


def by_way(rows: Sequence[Row]) -> Mapping[tuple[str, str, str | None], Row]:
    return {way(row): row for row in rows}


def test_each_alone_and_both(rows: Sequence[Row]) -> None:
    found = by_way(rows)
    base, deferred = found["BASE", Schedule.ASAP, None], found["BASE", Schedule.CARBON, "built-in"]
    directed, both = found["OURS", Schedule.ASAP, None], found["OURS", Schedule.CARBON, "built-in"]
    assert (base["saving"], base["saved_g"], base["preference"]) == (pytest.approx(0), pytest.approx(0), 1)
    assert deferred["preference"] == pytest.approx(1)
    assert 0 < deferred["saving"] < both["saving"]
    assert 0 < directed["saving"] < both["saving"]
    for row in rows:
        assert row["base_g"] == pytest.approx(base["base_g"])
        assert row["saved_g"] == pytest.approx(row["saving"] * row["base_g"])
        assert row["total_base_g"] == pytest.approx(base["total_base_g"])
    assert {row["missed"] for row in rows if row["schedule"] == Schedule.CARBON} == {0}


def test_at_once_the_saving_is_that_of_the_plain_replay(comparison: Comparison, rows: Sequence[Row]) -> None:
    (plain,) = compare(comparison)
    directed = by_way(rows)["OURS", Schedule.ASAP, None]
    assert directed["preference"] == pytest.approx(plain["preference"], abs=1e-3)
    assert directed["saving"] == pytest.approx(plain["saving"], abs=0.01)


def test_work_that_moves_to_clean_hours_has_longer_answers(rows: Sequence[Row]) -> None:
    found = by_way(rows)
    at_once, moved = found["OURS", Schedule.ASAP, None], found["OURS", Schedule.CARBON, "perfect"]
    assert moved["device_s_per_request"] > at_once["device_s_per_request"]
    assert moved["worst_preference"] >= at_once["worst_preference"]


def test_built_in_by_default(comparison: Comparison) -> None:
    found = run(replace(comparison, policies=("BASE",)), SMALL, ())
    assert [way(row) for row in found] == [("BASE", "asap", None), ("BASE", "carbon", "built-in")]


@pytest.mark.parametrize("policy", ["ORACLE", "MODEL_OPT"])
def test_policies_without_mixes_cannot_be_deferred(comparison: Comparison, policy: str) -> None:
    with pytest.raises(InvalidInput, match=policy):
        run(replace(comparison, policies=("OURS", policy)), SMALL, ())
