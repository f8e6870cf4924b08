from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from app.domain.errors import InvalidInput
from app.domain.footprint import Hardware
from app.domain.optimizer import FloorMode, FloorRule
from app.domain.policy import Decision, Observation
from app.simulation.informed import MOST_XI, Informed, dirtiness_by_hour, with_all_verdicts, with_truth
from app.simulation.outcome import Bill, Evaluation
from app.simulation.partition import Workloads, partition
from app.simulation.replay import Conditions, replay
from tests.support.recorded import a_month, a_recording

FIT = a_recording([0, 1] * 40, [0, 1, 2, 0, 1] * 16)
SCORE = a_recording([0, 1, 1] * 30, [2, 1, 0, 0, 1] * 18)
PARTS = partition(FIT, SCORE, Workloads.DECLARED, strata=False)
MONTH = a_month(hours=72)
RULE = FloorRule(xi=0.1, quality_worth=0.25)


def informed(rule: FloorRule = RULE) -> Informed:
    policy, known = with_truth(SCORE, PARTS, rule)
    return Informed.of(policy, known, levels=3, intensity=MONTH.now, hardware=Hardware())


@dataclass(kw_only=True)
class Knowing:
    """Decides every hour anew by what is true."""

    xi: float
    name: str = "KNOWING"

    def decide(self, seen: Observation) -> Decision:
        policy, known = with_truth(SCORE, PARTS, replace(RULE, xi=self.xi))
        return policy.decide(replace(seen, workloads=known))


def saving_and_worst(mixes: np.ndarray) -> tuple[float, float]:
    found = Bill.of(SCORE, PARTS, Hardware()).settle(
        arrived=MONTH.traffic, served=MONTH.traffic, mixes=mixes, intensity=MONTH.now, evaluation=Evaluation()
    )
    worst = (found.preferred[:, 0] / found.preferred[:, 1]).min()
    return float(1 - found.served_g.sum() / found.base_g.sum()), float(worst)


@pytest.mark.parametrize("xi", [0.0, 0.1, 0.3, MOST_XI])
def test_one_table_decides_as_an_optimizer_does_hour_by_hour(xi: float) -> None:
    hourly = replay(Knowing(xi=xi), MONTH, FIT, SCORE, PARTS, Conditions(budget=0.0), np.random.default_rng(0)).mixes
    table = informed().mixes(MONTH.now, xi * dirtiness_by_hour(MONTH))
    assert table.sum(axis=2) == pytest.approx(1)
    assert saving_and_worst(table) == pytest.approx(saving_and_worst(hourly), abs=1e-3)


def test_who_knows_the_truth_keeps_its_floor_in_every_hour() -> None:
    tolerance = 0.2 * dirtiness_by_hour(MONTH)
    mixes = informed().mixes(MONTH.now, tolerance)
    rates = np.array([SCORE.picked[SCORE.workload == workload].mean(axis=0) for workload in (0, 1)])
    kept = (mixes * rates).sum(axis=2) / rates[:, 0]
    assert (kept >= 1 - tolerance[:, None] - 1e-6).all()
    assert kept.min() < 1


def test_a_common_floor_depends_on_the_traffic_and_is_refused() -> None:
    with pytest.raises(InvalidInput, match="floor per workload"):
        informed(FloorRule(mode=FloorMode.AGGREGATE))


def test_all_verdicts_are_those_of_the_half_that_is_learned_from() -> None:
    known = with_all_verdicts(FIT, PARTS, Conditions())
    assert [each.quality.gains[1].verdicts for each in known if each.quality] == [40, 40]
    assert [each.uses.keys() for each in known] == [{0, 1, 2}] * 2
