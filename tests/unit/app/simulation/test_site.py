from __future__ import annotations

import numpy as np
import pytest

from app.domain.footprint import Hardware
from app.simulation.site import Site
from tests.support.recorded import grams

HARDWARE = Hardware(pue=1.5)
SITE = Site(devices=2.0, idle_w=100.0, hardware=HARDWARE)
NOW = np.array([200.0, 400.0])


def test_what_is_attributed_is_what_the_ledger_has() -> None:
    found = SITE.attributed_g(np.array([9e5, 0.0]), np.array([3600.0, 0.0]), NOW)
    assert found == pytest.approx(grams(9e5, 3600.0, 200.0, HARDWARE))


def test_idle_machines_and_all_their_time_are_in_the_total() -> None:
    # One of two devices works in the first hour, at 250 W; else they idle.
    found = SITE.total_g(np.array([9e5, 0.0]), np.array([3600.0, 0.0]), NOW)
    first = grams(9e5 + 100 * 3600, 7200.0, 200.0, HARDWARE)
    assert found == pytest.approx(first + grams(100 * 7200, 7200.0, 400.0, HARDWARE))


def test_moving_work_between_hours_changes_what_it_takes_above_idleness() -> None:
    early, late = (
        SITE.total_g(energy_j, device_s, NOW)
        for energy_j, device_s in (
            (np.array([0.0, 9e5]), np.array([0.0, 3600.0])),
            (np.array([9e5, 0.0]), np.array([3600.0, 0.0])),
        )
    )
    cost_g = SITE.cost_g(np.array([9e5, 9e5]), np.array([3600.0, 3600.0]), NOW)
    assert early - late == pytest.approx(cost_g[1] - cost_g[0])


def test_work_that_takes_less_than_idleness_costs_nothing() -> None:
    assert SITE.cost_g(np.array([1.0]), np.array([1.0]), np.array([300.0])).tolist() == [0]
