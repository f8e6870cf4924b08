from __future__ import annotations

import numpy as np
import pytest

from app.domain.footprint import Hardware
from app.simulation.outcome import Bill, Evaluation, at_l0, clean_share
from app.simulation.partition import Workloads, partition
from tests.support.recorded import a_recording, grams

SCORE = a_recording([0, 1, 1] * 10, [2, 1, 0, 0, 1] * 6)
BILL = Bill.of(SCORE, partition(SCORE, SCORE, Workloads.DECLARED, strata=False), Hardware())
NOW = np.array([100.0, 400.0])
LEVEL_1 = np.broadcast_to(np.array([0.0, 1.0, 0.0]), (2, 2, 3))
HALF = np.broadcast_to(np.array([0.5, 0.5, 0.0]), (2, 2, 3))
ARRIVED = np.array([[30.0, 10.0], [0.0, 0.0]])


def mean(workload: int, level: int, intensity: float) -> float:
    """Grams of a request."""
    rows = SCORE.workload == workload
    return float(grams(SCORE.energy_j[rows, level].mean(), SCORE.device_s[rows, level].mean(), intensity))


def test_what_ran_later_is_priced_then_and_held_against_its_arrival() -> None:
    found = BILL.settle(
        arrived=ARRIVED, served=ARRIVED[::-1], mixes=LEVEL_1, intensity=NOW, evaluation=Evaluation(grams=3.0)
    )
    assert found.served_g.tolist() == pytest.approx([0, 30 * mean(0, 1, 400) + 10 * mean(1, 1, 400)])
    assert found.base_g.tolist() == pytest.approx([30 * mean(0, 0, 100) + 10 * mean(1, 0, 100), 0])
    assert found.requests.tolist() == [30, 10]
    assert found.evaluation_g == 3


def test_answers_have_the_mix_of_the_hour_in_which_they_ran() -> None:
    mixes = np.stack([at_l0(LEVEL_1)[0], LEVEL_1[1]])
    found = BILL.settle(arrived=ARRIVED, served=ARRIVED[::-1], mixes=mixes, intensity=NOW, evaluation=Evaluation())
    picked = np.array([[(SCORE.pick[SCORE.workload == w] == level).mean() for level in (1, 0)] for w in (0, 1)])
    assert found.preferred == pytest.approx(picked * np.array([[30], [10]]))


def test_the_use_of_a_request_is_that_of_its_mix() -> None:
    energy_j, device_s = BILL.uses(HALF)
    for index in (0, 1):
        rows = SCORE.workload == index
        assert energy_j[0, index] == pytest.approx(SCORE.energy_j[rows, :2].mean())
        assert device_s[0, index] == pytest.approx(SCORE.device_s[rows, :2].mean())


def test_one_hour() -> None:
    found = BILL.grams(np.array([0.75, 0.25]), LEVEL_1[0], 100.0)
    assert found.tolist() == pytest.approx([0.75 * mean(0, 1, 100), 0.25 * mean(1, 1, 100)])


def test_the_share_of_rounds_in_the_cleanest_third_of_the_hours() -> None:
    intensity = np.array([300.0, 100.0, 200.0, 110.0, 250.0, 400.0])
    assert clean_share((1, 3), intensity) == 1.0
    assert clean_share((0, 1, 2, 5), intensity) == 0.25
    assert clean_share((), intensity) is None
