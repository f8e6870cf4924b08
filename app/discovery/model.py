"""The class model: which mix each prompt is answered under, learned from past prompts and their energy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from app.discovery.classes import fine_centroids, merge, nearest, renumber
from app.discovery.embedding import Embedding, Stored, fit_embedding
from app.discovery.energy import logarithms
from app.discovery.strata import STRATA, Strata, fit_strata
from app.domain.arrays import Floats
from app.domain.errors import InvalidInput
from app.domain.workload import discovered_name

FEWEST_PROMPTS = 100
"""With fewer, classes would be chance."""


@dataclass(frozen=True, kw_only=True)
class ClassModel:
    version: int
    prompts: int
    """How many it was learned from."""
    embedding: Embedding
    centroids: Stored
    """K x D: fine classes."""
    numbers: tuple[int, ...]
    """K: the number of the discovered workload to which each fine class belongs."""
    issued: int
    """The highest number that a discovered workload of this model or of its forerunners ever had."""
    strata: Strata

    def assign(self, prompts: Sequence[str], declared: Sequence[str | None]) -> list[str]:
        """The mix name of each prompt: its declared workload, or else its discovered one, and its stratum there.

        The same prompt always gets the same name. A workload without strata, or unknown to this model, is named bare.
        """
        points = self.embedding(prompts)
        workloads = self.workloads(points, declared)
        return self.strata.names(workloads, self.strata.scores(workloads, points))

    def workloads(self, points: Floats, declared: Sequence[str | None]) -> list[str]:
        """The workload of each point (N x D): the declared one, or else that of the nearest fine class."""
        found = nearest(self.centroids, points)
        return [name or discovered_name(self.numbers[fine]) for name, fine in zip(declared, found, strict=True)]


@dataclass(frozen=True, kw_only=True)
class Fitted:
    model: ClassModel
    names: list[str]
    """Mix names of the very prompts that were fitted, each as if its own energy had not been known: evidence on these
    prompts belongs under these names, because `model.assign` knows their energy too well."""


def fit(
    prompts: Sequence[str],
    declared: Sequence[str | None],
    energies_j: Sequence[float] | Floats,
    *,
    previous: ClassModel | None = None,
    strata: int = STRATA,
) -> Fitted:
    """Learn classes from past prompts; the same input gives the same model.

    Args:
        prompts: N texts.
        declared: N names; None where the user named no workload. Discovered workloads are learned from these prompts
            if they are enough, and from all otherwise.
        energies_j: N; of the answer at L0, NaN where it is not known.
        previous: the model whose names for discovered workloads are kept.
        strata: the most that a workload is divided into; 1 leaves workloads whole.

    Raises:
        InvalidInput: there are fewer than FEWEST_PROMPTS prompts.
    """
    # Only libraries that are loaded already can be held to one thread.
    import sklearn.cluster
    import sklearn.feature_extraction.text  # noqa: F401
    from threadpoolctl import threadpool_limits

    if len(prompts) < FEWEST_PROMPTS:
        raise InvalidInput(f"Classes are learned from at least {FEWEST_PROMPTS} prompts; there are {len(prompts)}.")
    # One thread: sums come in the same order each time, and the other cores are left to requests.
    with threadpool_limits(1):
        embedding = fit_embedding(prompts)
        points = embedding(prompts)
        whole = _whole(embedding, prompts, points, declared, previous)
        workloads = whole.workloads(points, declared)
        fitted = fit_strata(workloads, points, logarithms(energies_j), most=strata)
    return Fitted(model=replace(whole, strata=fitted.strata), names=fitted.strata.names(workloads, fitted.scores))


def _whole(
    embedding: Embedding,
    prompts: Sequence[str],
    points: Floats,
    declared: Sequence[str | None],
    previous: ClassModel | None,
) -> ClassModel:
    """The model without strata."""
    nameless = [row for row, name in enumerate(declared) if name is None]
    rows = nameless if len(nameless) >= FEWEST_PROMPTS else list(range(len(prompts)))
    centroids, numbers, issued = _discover([prompts[row] for row in rows], points[rows], previous)
    return ClassModel(
        version=previous.version + 1 if previous else 1,
        prompts=len(prompts),
        embedding=embedding,
        centroids=centroids,
        numbers=numbers,
        issued=issued,
        strata=Strata.none(embedding.size),
    )


def _discover(
    prompts: Sequence[str], points: Floats, previous: ClassModel | None
) -> tuple[Stored, tuple[int, ...], int]:
    """Fine centroids, the numbers of their discovered workloads, and the highest number issued so far."""
    if previous is None:
        centroids = fine_centroids(points, np.zeros((0, points.shape[1])))
        merged = merge(centroids, points)
        return centroids, tuple(int(label) + 1 for label in merged), int(merged.max()) + 1
    before = nearest(previous.centroids, previous.embedding(prompts))
    starts = np.array([points[before == fine].mean(axis=0) for fine in np.unique(before)])
    centroids = fine_centroids(points, starts)
    merged = merge(centroids, points)
    old = [previous.numbers[fine] for fine in before]
    numbers = renumber(merged[nearest(centroids, points)], old, previous.issued)
    return centroids, tuple(numbers[label] for label in merged), max(previous.issued, *numbers)
