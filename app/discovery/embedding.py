"""Prompts as points: alike prompts lie close to each other.

TF-IDF of `text.terms` (sublinear counts), projected by a truncated singular value decomposition and scaled to length 1
(latent semantic analysis: Deerwester et al., 1990), beside the standardised figures of `text.structure`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from app.discovery.text import read, structure, terms
from app.discovery.vocabulary import Vocabulary
from app.domain.arrays import Floats

Stored = NDArray[np.float32]
"""What a model keeps: half the size, and far finer than what it tells apart."""

DIMENSIONS = 50
PROMPTS_PER_DIMENSION = 10
MAX_TERMS = 4_000
"""20 000 told recorded workloads apart no better."""
RAREST = 3
"""Terms in fewer prompts than this say nothing about a class; among `FEW` prompts, terms in a single one."""
VOCABULARY_PROMPTS = 3_000
"""Terms are collected from about this many prompts: all pairs of words of all prompts would fill the memory."""
FEW = 500
STRUCTURE_WEIGHT = 1 / 6
"""A standard deviation of form weighs as much as this distance in words; form is cut off at three deviations."""
FARTHEST = 3.0
AT_ONCE = 64
"""Prompts that are read together: enough that a call costs little for each, and what is made of them fits a cache."""
LEAST_SPREAD = 1e-3
"""Added to each deviation of form, so that a figure in which all prompts agree does not part later ones by chance."""


@dataclass(frozen=True, kw_only=True)
class Embedding:
    vocabulary: tuple[str, ...]
    projection: Stored
    """V x D: the terms' coordinates, times their inverse document frequency."""
    centre: Stored
    """9: means of the figures of form over the prompts that were fitted."""
    scale: Stored
    """9: their standard deviations."""

    @cached_property
    def _terms(self) -> Vocabulary:
        return Vocabulary(self.vocabulary)

    @cached_property
    def _coordinates(self) -> Floats:
        return self.projection.astype(float)

    @property
    def size(self) -> int:
        """Number of coordinates of a point."""
        return int(self.projection.shape[1]) + len(self.centre)

    def __call__(self, prompts: Sequence[str]) -> Floats:
        """Points of N prompts: N x `size`. Each depends on its own prompt only."""
        points = [np.hstack([self._words(some), self._form(some)]) for some in _parts(prompts)]
        return np.vstack([np.empty((0, self.size)), *points])

    def _words(self, prompts: Sequence[str]) -> Floats:
        rows, columns, counts = self._terms.counts(read(prompts))
        bounds = np.searchsorted(rows, np.arange(len(prompts) + 1))
        # A sparse product sums up each row on its own. The length of the TF-IDF vector does not matter: the projection
        # is scaled to length 1.
        weights = csr_array((1 + np.log(counts), columns, bounds), shape=(len(prompts), len(self.vocabulary)))
        projected = weights @ self._coordinates
        lengths = np.sqrt(np.square(projected).sum(axis=1, keepdims=True))
        return np.asarray(projected / np.maximum(lengths, 1e-12))

    def _form(self, prompts: Sequence[str]) -> Floats:
        standard = (structure(prompts) - self.centre) / self.scale
        return np.asarray(np.clip(standard, -FARTHEST, FARTHEST) * STRUCTURE_WEIGHT)


def fit_embedding(prompts: Sequence[str]) -> Embedding:
    """Learn vocabulary and projection from one prompt or more; the same prompts give the same embedding."""
    forms = np.vstack([structure(some) for some in _parts(prompts)])
    vocabulary, projection = _words(prompts)
    return Embedding(
        vocabulary=vocabulary,
        projection=projection.astype(np.float32),
        centre=forms.mean(axis=0).astype(np.float32),
        scale=(forms.std(axis=0) + LEAST_SPREAD).astype(np.float32),
    )


def _parts(prompts: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(prompts), AT_ONCE):
        yield prompts[start : start + AT_ONCE]


def _words(prompts: Sequence[str]) -> tuple[tuple[str, ...], Floats]:
    """Vocabulary and projection; empty when the prompts share no terms, so that only their form tells them apart."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.utils.extmath import randomized_svd

    rarest = RAREST if len(prompts) >= FEW else 2
    vectorizer = TfidfVectorizer(analyzer=terms, min_df=rarest, max_features=MAX_TERMS, sublinear_tf=True)
    try:
        vectorizer.fit(prompts[:: -(-len(prompts) // VOCABULARY_PROMPTS)])
        matrix = vectorizer.transform(prompts)
    except ValueError:  # how scikit-learn says that no term is left
        return (), np.zeros((0, 0))
    dimensions = min(DIMENSIONS, len(prompts) // PROMPTS_PER_DIMENSION, matrix.shape[1] - 1)
    if dimensions < 1:
        return (), np.zeros((0, 0))
    components = randomized_svd(matrix, dimensions, n_iter=4, random_state=0)[2]
    return tuple(vectorizer.get_feature_names_out()), np.asarray(components.T * vectorizer.idf_[:, None])
