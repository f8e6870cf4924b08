from __future__ import annotations

import statistics
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.profile import Profile, pooled

ONE = Profile(workload="w~1", level=2, requests=4, energy_j=10.0, energy_sd_j=3.0, device_s=2.0, device_sd_s=0.5)


def measured(joules: list[float]) -> Profile:
    sd = statistics.stdev(joules) if len(joules) > 1 else 0.0
    return replace(
        ONE,
        requests=len(joules),
        energy_j=statistics.mean(joules),
        energy_sd_j=sd,
        device_s=statistics.mean(joules) / 8,
        device_sd_s=sd / 8,
    )


@given(st.lists(st.lists(st.floats(0, 1e4), min_size=1, max_size=9), min_size=1, max_size=5))
def test_pooled_profiles_are_that_of_all_requests(parts: list[list[float]]) -> None:
    found = pooled([measured(joules) for joules in parts], "w")
    whole = measured([joules for part in parts for joules in part])
    assert (found.workload, found.level, found.requests) == ("w", 2, whole.requests)
    assert found.energy_j == pytest.approx(whole.energy_j)
    assert found.device_s == pytest.approx(whole.device_s)
    assert found.energy_sd_j == pytest.approx(whole.energy_sd_j, abs=1e-6)
    assert found.device_sd_s == pytest.approx(whole.device_sd_s, abs=1e-6)


@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), 1e308])
def test_garbage_is_not_hidden(garbage: float) -> None:
    found = pooled([ONE, replace(ONE, energy_j=garbage)], "w")
    assert not found.energy_sd_j < float("inf")
