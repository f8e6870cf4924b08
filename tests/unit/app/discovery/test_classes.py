from __future__ import annotations

import numpy as np
import pytest

from app.discovery.classes import fine_centroids, merge, nearest, renumber
from app.discovery.embedding import Floats


def clouds(*centres: tuple[float, float], size: int = 200, spread: float = 0.05) -> Floats:
    rng = np.random.default_rng(1)
    return np.vstack([rng.normal(centre, spread, (size, 2)) for centre in centres])


def test_clear_clouds_become_one_class_each_and_the_largest_is_the_first() -> None:
    points = np.vstack([clouds((0, 0), size=150), clouds((5, 0), size=300), clouds((0, 5), size=200)])
    centroids = fine_centroids(points, np.zeros((0, 2)))
    found = merge(centroids, points)[nearest(centroids, points)]
    assert [set(found[:150]), set(found[150:450]), set(found[450:])] == [{2}, {0}, {1}]


def test_classes_are_merged_whatever_it_costs_until_they_are_large_enough() -> None:
    points = clouds((0, 0), (5, 0), (0, 5), size=40)
    assert set(merge(fine_centroids(points, np.zeros((0, 2))), points)) == {0, 1}


def test_equal_points_are_one_class() -> None:
    points = np.ones((100, 3))
    centroids = fine_centroids(points, np.zeros((0, 3)))
    assert centroids.shape == (1, 3)
    assert list(merge(centroids, points)) == [0]


def test_starts_are_kept_where_they_fit() -> None:
    points = clouds((0, 0), (5, 0), size=20)
    starts = np.array([[5.0, 0.0], [0.0, 0.0]])
    centroids = fine_centroids(points, starts)
    assert len(centroids) == 4
    assert centroids[0] == pytest.approx([5, 0], abs=0.2)


@pytest.mark.parametrize(
    ("new", "old", "numbers"),
    [
        ([0, 0, 1, 1], [7, 7, 3, 3], [7, 3]),
        ([0, 0, 1, 1, 2], [7, 7, 3, 3, 3], [7, 3, 10]),
        ([0, 0, 0, 0], [7, 3, 3, 3], [3]),
        ([0, 1, 1], [4, 4, 4], [10, 4]),
    ],
    ids=["swapped", "split off", "merged", "the larger part keeps the number"],
)
def test_numbers_go_with_the_prompts(new: list[int], old: list[int], numbers: list[int]) -> None:
    assert renumber(np.array(new), old, issued=9) == numbers
