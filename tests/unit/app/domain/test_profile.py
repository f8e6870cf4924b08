from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.profile import Profile, of_floors, pooled

ONE = Profile(
    workload="w~1",
    level=2,
    requests=4,
    energy_j=10.0,
    energy_sd_j=3.0,
    device_s=2.0,
    device_sd_s=0.5,
    completion_tokens=30.0,
)

Weighed = Sequence[tuple[float, float]]
"""Joules, and weight."""


def measured(requests: Weighed) -> Profile:
    joules, weights = np.array(requests).T
    mean = float(np.average(joules, weights=weights))
    sd = float(np.average((joules - mean) ** 2, weights=weights) ** 0.5)
    return replace(
        ONE,
        requests=float(weights.sum()),
        energy_j=mean,
        energy_sd_j=sd,
        device_s=mean / 8,
        device_sd_s=sd / 8,
        completion_tokens=3 * mean,
    )


PARTS = st.lists(
    st.lists(st.tuples(st.floats(0, 1e4), st.floats(1e-3, 1)), min_size=1, max_size=9), min_size=1, max_size=5
)


@given(PARTS)
def test_pooled_profiles_are_that_of_all_requests(parts: list[Weighed]) -> None:
    found = pooled([measured(part) for part in parts], "w")
    whole = measured([request for part in parts for request in part])
    assert (found.workload, found.level) == ("w", 2)
    for name in ("requests", "energy_j", "device_s", "completion_tokens"):
        assert getattr(found, name) == pytest.approx(getattr(whole, name))
    assert found.energy_sd_j == pytest.approx(whole.energy_sd_j, rel=1e-6, abs=1e-3)
    assert found.device_sd_s == pytest.approx(whole.device_sd_s, rel=1e-6, abs=1e-3)


@given(st.lists(st.floats(0, 1e4), min_size=2, max_size=20))
def test_the_error_of_new_requests_is_the_usual_one(joules: list[float]) -> None:
    usual = np.std(joules, ddof=1) / len(joules) ** 0.5
    assert measured([(each, 1.0) for each in joules]).energy_error_j == pytest.approx(usual, abs=1e-9)


@given(st.lists(st.tuples(st.floats(0, 1e4), st.floats(1e-3, 1)), min_size=2, max_size=20))
def test_faded_requests_claim_no_smaller_error_than_as_many_new_ones(requests: Weighed) -> None:
    found, weights = measured(requests), np.array([weight for _, weight in requests])
    as_many_new = weights.sum() ** 2 / (weights**2).sum()
    if found.requests > 1:
        assert found.energy_error_j >= (1 - 1e-9) * found.energy_sd_j / (as_many_new - 1) ** 0.5
    else:
        assert found.energy_error_j == float("inf")


def test_a_workload_is_what_its_strata_are_together() -> None:
    other = replace(ONE, workload="w~2", energy_j=20.0)
    found = of_floors([ONE, other, replace(ONE, level=0), replace(ONE, workload="v")])
    assert found["w", 2] == pooled([ONE, other], "w")
    assert found.keys() == {("w", 2), ("w", 0), ("v", 2)}


@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), 1e308])
def test_garbage_is_not_hidden(garbage: float) -> None:
    found = pooled([ONE, replace(ONE, energy_j=garbage)], "w")
    assert not found.energy_sd_j < float("inf")
