from __future__ import annotations

import math

import numpy as np
import pytest

from app.discovery.energy import as_at_l0, logarithms


def test_what_is_not_known_has_no_logarithm() -> None:
    found = logarithms([math.e, 0.0, -1.0, math.nan, math.inf])
    assert found[0] == pytest.approx(1)
    assert np.isnan(found[1:]).all()


def test_a_level_is_replaced_by_l0() -> None:
    """L1 halves and L2 quarters energy."""
    found = as_at_l0(["w"] * 4, [0, 1, 2, 2], [80.0, 40.0, 20.0, 30.0 * 2 / 3])
    assert found == pytest.approx([80.0] * 4)


def test_a_level_is_not_to_blame_for_the_stratum_in_which_it_is_drawn() -> None:
    """Energy does not depend on the level, but L1 is drawn most in the stratum of long answers."""
    names = ["w~1"] * 10 + ["w~2"] * 10
    levels = [0] * 9 + [1] + [0] + [1] * 9
    energies = [10.0] * 10 + [100.0] * 10
    assert as_at_l0(names, levels, energies) == pytest.approx(energies)


def test_workloads_are_apart_and_the_unknown_stays_unknown() -> None:
    found = as_at_l0(["a", "a", "b", "b", "c"], [0, 1, 0, 1, 0], [10.0, 5.0, 10.0, 20.0, math.nan])
    assert found[:4] == pytest.approx([10.0] * 4)
    assert math.isnan(found[4])


def test_without_l0_the_lowest_level_stands_in() -> None:
    assert as_at_l0(["w", "w"], [1, 2], [8.0, 4.0]) == pytest.approx([8.0, 8.0])


def test_nothing_is_made_of_nothing() -> None:
    assert len(as_at_l0([], [], [])) == 0
