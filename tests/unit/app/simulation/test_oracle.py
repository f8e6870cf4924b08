from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.domain.footprint import Hardware
from app.simulation.comparison import Comparison, halves
from app.simulation.dataset import Recording, load
from app.simulation.oracle import replay_oracle
from app.simulation.outcome import Outcome
from app.simulation.replay import Conditions, Month
from app.simulation.small_model import replay_small_model
from tests.support.recorded import a_month, a_recording, grams

HARDWARE = Hardware(pue=1.3)
RIGHT = np.random.default_rng(3).integers(0, 2, (30, 3)).astype(float)
SCORE = replace(a_recording([0, 1, 1] * 10, [2, 1, 0, 0, 1, 0] * 5), correct=RIGHT)


def oracle(month: Month, score: Recording = SCORE, xi: float = 0.3, requests_per_hour: int = 10_000) -> Outcome:
    return replay_oracle(month, score, xi=xi, hardware=HARDWARE, requests_per_hour=requests_per_hour)


def dealt_by_hand(mix: Sequence[float], prices: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """R x L: the requests that save most get the last level of the mix, until its share is used up."""
    used = [level for level in range(3) if mix[level] > 0]
    first, second = used[0], used[-1]
    left = mix[second]
    assigned = np.zeros((len(prices), 3))
    for row in sorted(range(len(prices)), key=lambda row: prices[row, second] - prices[row, first]):
        part = 1.0 if first == second else min(max(left, 0.0) / weights[row], 1.0)
        left -= weights[row] * part
        assigned[row, first] += 1 - part
        assigned[row, second] += part
    return assigned


def test_the_bill_is_that_of_every_single_request() -> None:
    month = a_month(hours=6)
    outcome = oracle(month)
    spent, picked, right = np.zeros((2, 2)), np.zeros((2, 2)), np.zeros((2, 2))
    mixed = 0
    for hour, shares in enumerate(month.traffic):
        intensity = month.intensity[month.start + hour]
        weights = np.array([shares[w] / int((SCORE.workload == w).sum()) for w in SCORE.workload])
        prices = np.array(
            [[grams(energy_j, energy_j / 100, intensity, HARDWARE) for energy_j in row] for row in SCORE.energy_j]
        )
        assigned = dealt_by_hand(outcome.mixes[hour, 0], prices, weights)
        mixed += 0 < outcome.mixes[hour, 0, 0] < 1
        for row, workload in enumerate(SCORE.workload):
            number = 10_000 * weights[row]
            spent[workload] += number * np.array([prices[row] @ assigned[row], prices[row, 0]])
            picked[workload] += number * np.array([assigned[row, SCORE.pick[row]], SCORE.pick[row] == 0])
            right[workload] += number * np.array([RIGHT[row] @ assigned[row], RIGHT[row, 0]])
    assert mixed
    assert outcome.served_by_workload == pytest.approx(spent)
    assert outcome.preferred == pytest.approx(picked)
    assert outcome.correct == pytest.approx(right)
    assert (outcome.served_g.sum(), outcome.base_g.sum()) == pytest.approx(tuple(spent.sum(axis=0)))
    assert outcome.requests == pytest.approx(month.traffic.sum(axis=0) * 10_000)
    assert (outcome.evaluation_g, outcome.rounds, outcome.verdicts) == (0, 0, 0)


def test_its_mix_keeps_the_floor_in_truth() -> None:
    month = a_month(hours=48)
    outcome = oracle(month, xi=0.1)
    for hour, shares in enumerate(month.traffic):
        weights = np.array([shares[w] / int((SCORE.workload == w).sum()) for w in SCORE.workload])
        rates = np.array([weights[SCORE.pick == level].sum() for level in range(3)])
        # Rates under half a verdict of prior each, as the programme has them.
        smoothed = (rates * len(SCORE) + 0.5) / (len(SCORE) + 1.5)
        assert smoothed @ outcome.mixes[hour, 0] >= 0.9 * smoothed[0] - 1e-6


def test_selection_by_grams_delivers_less_than_its_programme_promises() -> None:
    """Where those that save most are those whose L0 is liked most."""
    energy_j = np.tile([[900.0, 300.0, 200.0]] * 3 + [[300.0, 200.0, 150.0]], (20, 1))
    pick = [0, 0, 0, 1] * 20
    score = replace(a_recording([0] * 80, pick, workloads=("v",)), energy_j=energy_j, device_s=energy_j / 100)
    month = a_month(hours=12, workloads=1)
    outcome = oracle(month, score, xi=0.9)
    promised = (outcome.mixes[:, 0] @ np.bincount(pick, minlength=3)).mean() / 60
    realised = outcome.preferred[0, 0] / outcome.preferred[0, 1]
    assert 0 < realised < promised - 0.01


def test_it_saves_at_least_what_its_mix_would_at_random(recorded: Path) -> None:
    dataset = load(recorded)
    _, score = halves(Comparison(dataset=recorded), 0)
    month = Month(intensity=dataset.intensity["NORTH"][:860], start=800, traffic=dataset.traffic)
    outcome = oracle(month, score, xi=0.1)
    per_workload = np.bincount(score.workload)
    at_random = 0.0
    for hour, shares in enumerate(month.traffic):
        weights = shares[score.workload] / per_workload[score.workload]
        intensity = month.intensity[month.start + hour]
        mean = [
            grams(weights @ score.energy_j[:, level], weights @ score.device_s[:, level], intensity, HARDWARE)
            for level in range(3)
        ]
        at_random += 10_000 * float(np.dot(mean, outcome.mixes[hour, 0]))
    assert outcome.served_g.sum() < at_random


def test_all_that_it_reports_grows_with_the_traffic_alone() -> None:
    month = a_month(hours=5)
    one, many = oracle(month, requests_per_hour=1), oracle(month, requests_per_hour=500)
    assert (one.mixes == many.mixes).all()
    for name in ("served_g", "base_g", "served_by_workload", "preferred", "correct", "requests"):
        assert getattr(many, name) == pytest.approx(500 * getattr(one, name))


def test_a_workload_without_requests_to_score_costs_nothing() -> None:
    score = a_recording([0] * 30, [0, 1, 2] * 10)
    outcome = oracle(a_month(hours=3), score)
    assert outcome.served_by_workload[1].tolist() == [0, 0]
    assert np.isfinite(outcome.served_g).all()


# MODEL_OPT.


def test_the_smaller_models_bill_is_that_of_its_share_of_requests(recorded: Path) -> None:
    dataset = load(recorded)
    month = Month(intensity=dataset.intensity["SOUTH"][:810], start=800, traffic=dataset.traffic[:10])
    outcome = replay_small_model(
        month, dataset.means, dataset.recording, 0.1, Conditions(requests_per_hour=7, hardware=HARDWARE)
    )
    spent = base = 0.0
    for hour, shares in enumerate(month.traffic):
        large, small = outcome.mixes[hour, 0]
        assert large + small == pytest.approx(1)
        assert large * 10 == pytest.approx(round(large * 10))
        for workload, share in enumerate(shares):
            means, intensity = dataset.means, month.intensity[800 + hour]
            at_l0 = grams(means.energy_j[workload, 0], means.device_s[workload, 0], intensity, HARDWARE)
            smaller = grams(means.small_energy_j[workload], means.small_device_s[workload], intensity, HARDWARE)
            base += 7 * share * at_l0
            spent += 7 * share * (large * at_l0 + small * smaller)
    assert outcome.served_g.sum() == pytest.approx(spent)
    assert outcome.base_g.sum() == pytest.approx(base)
    assert spent < base
    assert np.isnan(outcome.preferred).all()
