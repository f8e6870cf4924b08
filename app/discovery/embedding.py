"""Prompts as points: alike prompts lie close to each other.

TF-IDF of `text.terms` (sublinear counts), projected by a truncated singular value decomposition and scaled to length 1
(latent semantic analysis: Deerwester et al., 1990), beside the standardised figures of `text.structure`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from app.discovery.text import structure, terms
from app.domain.errors import InvalidInput

Floats = NDArray[np.float64]

DIMENSIONS = 50
MAX_TERMS = 20_000
RAREST = 3
"""Terms in fewer prompts than this say nothing about a class."""
STRUCTURE_WEIGHT = 1 / 6
"""A standard deviation of form weighs as much as this distance in words; form is cut off at three deviations."""
FARTHEST = 3.0


@dataclass(frozen=True, kw_only=True)
class Embedding:
    vocabulary: tuple[str, ...]
    idf: Floats
    """V: inverse document frequency of each term."""
    components: Floats
    """V x D."""
    centre: Floats
    """Means of the structure figures of the prompts that were fitted."""
    scale: Floats
    """Their standard deviations."""

    @cached_property
    def _index(self) -> dict[str, int]:
        return {term: index for index, term in enumerate(self.vocabulary)}

    @property
    def size(self) -> int:
        """Number of coordinates of a point."""
        return int(self.components.shape[1]) + len(self.centre)

    def __call__(self, prompts: Sequence[str]) -> Floats:
        """Points of N prompts: N x `size`."""
        points = np.empty((len(prompts), self.size))
        for row, prompt in enumerate(prompts):
            points[row] = np.concatenate([self._words(prompt), self._form(prompt)])
        return points

    def _words(self, prompt: str) -> Floats:
        counts = Counter(index for term in terms(prompt) if (index := self._index.get(term)) is not None)
        if not counts:
            return np.zeros(self.components.shape[1])
        rows = np.fromiter(counts, dtype=np.int64)
        weights = np.array([1 + math.log(count) for count in counts.values()]) * self.idf[rows]
        # The length of the TF-IDF vector does not matter: the projection is scaled to length 1.
        projected = weights @ self.components[rows]
        return np.asarray(projected / max(float(np.linalg.norm(projected)), 1e-12))

    def _form(self, prompt: str) -> Floats:
        standard = (np.array(structure(prompt)) - self.centre) / self.scale
        return np.asarray(np.clip(standard, -FARTHEST, FARTHEST) * STRUCTURE_WEIGHT)


def fit_embedding(prompts: Sequence[str]) -> Embedding:
    """Learn vocabulary and projection from past prompts; the same prompts give the same embedding.

    Raises:
        InvalidInput: there is no prompt.
    """
    if not prompts:
        raise InvalidInput("Classes cannot be discovered without prompts.")
    forms = np.array([structure(prompt) for prompt in prompts])
    vocabulary, idf, components = _words(prompts)
    return Embedding(
        vocabulary=vocabulary,
        idf=idf,
        components=components,
        centre=forms.mean(axis=0),
        scale=forms.std(axis=0) + 1e-6,
    )


def _words(prompts: Sequence[str]) -> tuple[tuple[str, ...], Floats, Floats]:
    """Vocabulary, IDF and projection; empty when the prompts share no term, so that only their form tells them apart."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(
        analyzer=terms, min_df=min(RAREST, len(prompts)), max_features=MAX_TERMS, sublinear_tf=True
    )
    try:
        matrix = vectorizer.fit_transform(prompts)
    except ValueError:
        return (), np.zeros(0), np.zeros((0, 0))
    dimensions = min(DIMENSIONS, *(size - 1 for size in matrix.shape))
    if dimensions < 1:
        return (), np.zeros(0), np.zeros((0, 0))
    projection = TruncatedSVD(dimensions, n_iter=3, random_state=0).fit(matrix).components_.T
    return tuple(vectorizer.get_feature_names_out()), np.asarray(vectorizer.idf_), projection
