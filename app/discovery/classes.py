"""Discovered workloads: fine classes by k-means, merged by Ward's criterion, numbered alike over refits."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.discovery.embedding import AT_ONCE, Stored
from app.domain.arrays import Floats

Ints = NDArray[np.int64]

FINE_CLASSES = 24
PROMPTS_PER_FINE_CLASS = 10
PROMPTS_PER_CLASS = 50
"""Classes are merged until each has this many prompts on average, whatever it costs."""
COSTLIEST_MERGE = 0.025
"""Share of the total sum of squares that a merge may add within classes. On recorded prompts of six kinds this gives
five classes at any sample size from 300 up; evidence of quality chose worse."""


def nearest(centroids: Stored, points: Floats) -> Ints:
    """N: the centroid (of K x D) nearest to each point (N x D). Row by row, so that company never decides."""
    found = [np.zeros(0, dtype=np.int64)]
    for start in range(0, len(points), AT_ONCE):
        some = points[start : start + AT_ONCE, None]
        found.append(np.square(centroids - some).sum(axis=2).argmin(axis=1))
    return np.concatenate(found)


def fine_centroids(points: Floats, starts: Floats) -> Stored:
    """K x D: k-means centroids, at most 24, each nearest to one of the points (N x D) or more.

    `starts` (S x D, S >= 0) are where k-means begins, as far as they go.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    number = min(FINE_CLASSES, max(1, len(points) // PROMPTS_PER_FINE_CLASS))
    warm = len(starts) > 0
    means = KMeans(
        number,
        init=_more_starts(points, starts[:number], number) if warm else "k-means++",
        n_init=1 if warm else 3,
        random_state=0,
    )
    with warnings.catch_warnings():
        # Equal prompts make fewer classes than asked for; the empty ones are dropped below.
        warnings.simplefilter("ignore", ConvergenceWarning)
        centroids = means.fit(points).cluster_centers_.astype(np.float32)
    return np.asarray(centroids[np.unique(nearest(centroids, points))])


def _more_starts(points: Floats, starts: Floats, number: int) -> Floats:
    """`number` starts: the given ones, then points far from all of these, drawn as in k-means++."""
    rng = np.random.default_rng(0)
    distance = np.min([np.square(points - start).sum(axis=1) for start in starts], axis=0)
    while len(starts) < number:
        weight = distance + 1e-12
        drawn = points[rng.choice(len(points), p=weight / weight.sum())]
        starts = np.vstack([starts, drawn])
        distance = np.minimum(distance, np.square(points - drawn).sum(axis=1))
    return starts


def merge(centroids: Stored, points: Floats) -> Ints:
    """K: the class of each centroid, 0 upwards, the largest class first.

    Ward, 1963, with centroids weighted by their points, which neither SciPy nor scikit-learn offers.
    """
    weight = np.bincount(nearest(centroids, points), minlength=len(centroids)).astype(float)
    means = centroids.astype(float)
    total = float(np.square(points - points.mean(axis=0)).sum())
    label = np.arange(len(centroids))
    while len(active := np.unique(label)) > 1:
        pair, cost = _cheapest_merge(means[active], weight[active])
        if cost > COSTLIEST_MERGE * total and len(points) >= PROMPTS_PER_CLASS * len(active):
            break
        kept, gone = active[list(pair)]
        means[kept] = np.average(means[[kept, gone]], axis=0, weights=weight[[kept, gone]])
        weight[kept] += weight[gone]
        label[label == gone] = kept
    by_size = active[np.argsort(-weight[active], kind="stable")]
    return np.array([int(np.flatnonzero(by_size == owner)[0]) for owner in label], dtype=np.int64)


def _cheapest_merge(means: Floats, weight: Floats) -> tuple[tuple[int, int], float]:
    """The two classes whose merging adds least to the sum of squares within classes, and how much that is."""
    left, right = np.triu_indices(len(means), k=1)
    shared = weight[left] * weight[right] / (weight[left] + weight[right])
    costs = shared * np.square(means[left] - means[right]).sum(axis=1)
    best = int(costs.argmin())
    return (int(left[best]), int(right[best])), float(costs[best])


def renumber(new: Ints, old: Sequence[int], issued: int) -> Sequence[int]:
    """The number of each new class (0 upwards): that of the old class whose prompts it has, or the next never issued.

    Args:
        new: class of each prompt now.
        old: number of each prompt's class before.
        issued: the highest number ever given.
    """
    from scipy.optimize import linear_sum_assignment

    numbers = sorted(set(old))
    overlap = np.zeros((int(new.max()) + 1, len(numbers)), dtype=np.int64)
    np.add.at(overlap, (new, np.searchsorted(numbers, old)), 1)
    matched = {
        int(row): numbers[column]
        for row, column in zip(*linear_sum_assignment(overlap, maximize=True), strict=True)
        if overlap[row, column]
    }
    fresh = iter(range(issued + 1, issued + 1 + len(overlap)))
    return [matched[row] if row in matched else next(fresh) for row in range(len(overlap))]
