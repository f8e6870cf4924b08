"""Counting a vocabulary's terms in many prompts at once.

Tokens are known by a 64-bit hash, so that no string is made of them: sum over k of c_k r^(k + 1), modulo 2^64, for the
codes c_k of a token's characters. Of 10^15 different tokens, less than one is expected to be taken for one of the
vocabulary by chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from app.discovery.characters import Codes, codes, joined
from app.discovery.text import END, SPOKEN, START, Tokens
from app.domain.arrays import Ints

Hashes = NDArray[np.uint64]

_BASE = 0x9E3779B97F4A7C15
"""r, odd and of high order: 2^64 over the golden ratio (Knuth, The Art of Computer Programming, 6.4)."""
_BUCKET_BITS = 14
_BUCKET_SHIFT = np.uint64(64 - _BUCKET_BITS)


class Vocabulary:
    """At most 32 767 terms by their number: `terms[number]` is a token, or two of them with a space in between."""

    def __init__(self, terms: Sequence[str]) -> None:
        self.size = len(terms)
        parts = [term.partition(" ") for term in terms]
        lefts, rights = [left for left, _, _ in parts], [right for _, _, right in parts]
        # The empty one is what a single token has at its right.
        tokens = sorted({"", START, END, *lefts, *rights})
        hashes = _hashes_of(tokens)
        order = np.argsort(hashes)
        identity = {tokens[token]: place for place, token in enumerate(order.tolist())}
        self._start, self._end = identity[START], identity[END]
        self._unknown = len(tokens)
        # The last one stands for unknown tokens and bounds every search.
        self._hashes = np.append(hashes[order], np.uint64(2**64 - 1))
        buckets = np.bincount((hashes >> _BUCKET_SHIFT).astype(np.int64), minlength=1 << _BUCKET_BITS)
        self._first = np.cumsum(buckets) - buckets
        self._fullest = int(buckets.max())
        # The number of each term and 1, by its tokens; 0 is no term.
        self._paired = np.zeros((len(tokens) + 1, len(tokens) + 1), dtype=np.int16)
        places = [identity[left] for left in lefts], [identity[right] for right in rights]
        self._paired[places] = np.arange(1, self.size + 1)
        self._single = self._paired[:, identity[""]].copy()

    def counts(self, tokens: Tokens) -> tuple[Ints, Ints, Ints]:
        """What the N prompts have of the vocabulary: prompt (ascending), number and count of each term."""
        known = self._identified(_hashes_of_tokens(tokens))
        prompts = np.arange(len(tokens.counts), dtype=np.int32)
        owner = np.repeat(prompts, tokens.counts)
        # One place before each prompt, and one after the last: there pairs end and begin.
        place = np.arange(len(known)) + owner + 1
        left = np.full(len(known) + len(prompts) + 1, self._start)
        right = np.full_like(left, self._end)
        left[place] = right[place] = known
        found = np.concatenate([self._single[known], self._paired[left[:-1], right[1:]]])
        owner = np.concatenate([owner, np.repeat(prompts, tokens.counts + 1)])
        is_term = found > 0
        keys, counts = np.unique(owner[is_term] * self.size + found[is_term] - 1, return_counts=True)
        return keys // self.size, keys % self.size, counts

    def _identified(self, hashes: Hashes) -> Ints:
        """T: the place of each token among those of the vocabulary. Most buckets hold one token or none."""
        place = self._first[hashes >> _BUCKET_SHIFT]
        for _ in range(self._fullest):
            place += self._hashes[place] < hashes
        return np.where(self._hashes[place] == hashes, place, self._unknown)


def _hashes_of(tokens: Sequence[str]) -> Hashes:
    ends = np.cumsum([len(token) + 1 for token in tokens]) - 1
    starts = ends - [len(token) for token in tokens]
    return _hashes(codes(joined(tokens)), starts, ends)


def _hashes_of_tokens(tokens: Tokens) -> Hashes:
    found = _hashes(tokens.characters, tokens.starts, tokens.ends)
    for kind, spoken in SPOKEN.items():
        found[tokens.kinds == kind] = ord(spoken) * _BASE % 2**64
    return found


def _hashes(characters: Codes, starts: Ints, ends: Ints) -> Hashes:
    powers, inverses = _powers(1 << len(characters).bit_length())
    sums = np.zeros(len(characters) + 1, dtype=np.uint64)
    np.cumsum(characters * powers[: len(characters)], out=sums[1:])
    return (sums[ends] - sums[starts]) * inverses[starts]


@cache
def _powers(size: int) -> tuple[Hashes, Hashes]:
    """r^(k + 1) and r^-k for k from 0 up."""
    powers = np.full(size, _BASE, dtype=np.uint64)
    inverses = np.full(size, pow(_BASE, -1, 2**64), dtype=np.uint64)
    inverses[0] = 1
    return np.multiply.accumulate(powers), np.multiply.accumulate(inverses)
