from __future__ import annotations

import numpy as np
import pytest

from app.domain.savings import WeightedSums, mean_at_l0


def sums(y: np.ndarray, p: np.ndarray) -> WeightedSums:
    """Of the requests that drew L0."""
    return WeightedSums(
        requests=len(y),
        weight=float(np.sum(1 / p)),
        weighted=float(np.sum(y / p)),
        weight_squared=float(np.sum(1 / p**2)),
        cross=float(np.sum(y / p**2)),
        weighted_squared=float(np.sum(y**2 / p**2)),
    )


@pytest.mark.parametrize("number", [0, 1])
def test_fewer_than_two_requests_say_nothing(number: int) -> None:
    assert mean_at_l0(sums(np.full(number, 5.0), np.full(number, 0.5))) is None


def test_everything_at_l0_is_a_plain_mean() -> None:
    y = np.array([1.0, 2.0, 3.0, 6.0])
    found = mean_at_l0(sums(y, np.ones(4)))
    assert found is not None
    assert found.mean == 3.0
    assert found.high - found.mean == pytest.approx(1.6449 * np.sqrt(np.sum((y - 3) ** 2)) / 4)
    assert found.mean - found.low == pytest.approx(found.high - found.mean)
    assert found.requests == 4


def test_requests_that_are_all_alike_leave_no_doubt() -> None:
    y = np.full(50, 0.1)
    found = mean_at_l0(sums(y, np.linspace(0.01, 1, 50)))
    assert found is not None
    assert (found.low, found.mean, found.high) == pytest.approx((0.1, 0.1, 0.1), abs=1e-8)


def test_an_interval_does_not_reach_below_nothing() -> None:
    found = mean_at_l0(sums(np.array([0.0, 100.0]), np.array([0.5, 0.5])))
    assert found is not None
    assert found.low == 0.0


def test_levels_that_depend_on_the_workload_do_not_bias_the_mean() -> None:
    """Long requests are rarely kept at L0 and short ones often: the plain mean of those at L0 is far off."""
    rng = np.random.default_rng(20260302)
    estimates, plain, covered = [], [], 0
    for _ in range(400):
        is_long = rng.random(2000) < 0.3
        y = rng.gamma(4, np.where(is_long, 100.0, 10.0))
        p = np.where(is_long, 0.05, 0.6)
        drew = rng.random(2000) < p
        found = mean_at_l0(sums(y[drew], p[drew]))
        assert found is not None
        estimates.append(found.mean)
        plain.append(y[drew].mean())
        covered += found.low <= 148.0 <= found.high
    truth = 4 * (0.3 * 100 + 0.7 * 10)
    assert truth == 148.0
    assert np.mean(estimates) == pytest.approx(truth, rel=0.02)
    assert np.mean(plain) < 0.5 * truth
    assert 0.85 < covered / 400 < 0.95


def test_a_probability_that_changes_over_time_does_not_bias_the_mean_either() -> None:
    rng = np.random.default_rng(1)
    estimates = []
    for _ in range(300):
        p = np.repeat([1.0, 0.5, 0.02], 400)
        y = rng.gamma(2, np.repeat([5.0, 10.0, 50.0], 400))
        drew = rng.random(1200) < p
        found = mean_at_l0(sums(y[drew], p[drew]))
        assert found is not None
        estimates.append(found.mean)
    assert np.mean(estimates) == pytest.approx(2 * (5 + 10 + 50) / 3, rel=0.04)
