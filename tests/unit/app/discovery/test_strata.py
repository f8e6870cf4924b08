from __future__ import annotations

import numpy as np
import pytest

from app.discovery.strata import PROMPTS_PER_STRATUM, FittedStrata, Strata, fit_strata

RNG = np.random.default_rng(2)


def fitted(number: int, *, most: int = 6, measured: int | None = None) -> FittedStrata:
    """Energy grows with the first coordinate of `number` points; only the first `measured` were measured."""
    points = RNG.normal(size=(number, 4))
    target = 3 + points[:, 0] + RNG.normal(scale=0.3, size=number)
    target[number if measured is None else measured :] = np.nan
    return fit_strata(["w"] * number, points, target, most=most)


def strata_of(strata: Strata, points: np.ndarray) -> list[str]:
    names = ["w"] * len(points)
    return strata.names(names, strata.scores(names, points))


def test_unseen_prompts_fall_into_strata_of_equal_size() -> None:
    found = strata_of(fitted(600).strata, RNG.normal(size=(6000, 4)))
    names, counts = np.unique(found, return_counts=True)
    assert list(names) == [f"w~{number}" for number in range(1, 7)]
    assert min(counts) > 800


def test_strata_ascend_with_energy() -> None:
    strata = fitted(600).strata
    ladder = np.zeros((50, 4))
    ladder[:, 0] = np.linspace(-3, 3, 50)
    found = strata_of(strata, ladder)
    assert found == sorted(found)
    assert {found[0], found[-1]} == {"w~1", "w~6"}


@pytest.mark.parametrize(("measured", "number"), [(39, 0), (40, 2), (59, 2), (119, 5), (120, 6), (300, 6)])
def test_each_stratum_needs_measured_prompts(measured: int, number: int) -> None:
    strata = fitted(300, measured=measured).strata
    found = set(strata_of(strata, RNG.normal(size=(2000, 4))))
    assert found == ({f"w~{index}" for index in range(1, number + 1)} or {"w"})
    assert PROMPTS_PER_STRATUM == 20


def test_scores_of_fitted_prompts_do_not_know_their_energy() -> None:
    """Where energy is noise, the model itself seems to know it, and the scores do not."""
    points, noise = RNG.normal(size=(120, 60)), RNG.normal(size=120)
    found = fit_strata(["w"] * 120, points, noise, most=6)
    assert np.corrcoef(found.strata.scores(["w"] * 120, points), noise)[0, 1] > 0.5
    assert np.corrcoef(found.scores, noise)[0, 1] < 0.2


def test_a_workload_is_whole_where_it_is_unknown_or_strata_are_not_wanted() -> None:
    strata = fitted(300).strata
    assert strata.names(["other"], strata.scores(["other"], np.zeros((1, 4)))) == ["other"]
    assert strata_of(fitted(300, most=1).strata, np.zeros((1, 4))) == ["w"]
    assert strata_of(Strata.none(4), np.zeros((1, 4))) == ["w"]


def test_workloads_have_strata_of_their_own() -> None:
    points = RNG.normal(size=(400, 2))
    names = ["up", "down"] * 200
    target = np.where(np.arange(400) % 2 == 0, points[:, 0], -points[:, 0])
    strata = fit_strata(names, points, target, most=2).strata
    high = np.array([[2.0, 0.0]] * 2)
    assert strata.names(["up", "down"], strata.scores(["up", "down"], high)) == ["up~2", "down~1"]
