"""ORACLE: the level of every single request of an hour, chosen in full knowledge. An upper bound, not a policy.

As Li et al., EMNLP 2024, section 5.1 has it: the linear programme is solved on the true means of the hour, and its mix
is dealt out so that the requests that save the most get the more economical of its two levels. The programme's promise
of quality is not what such a selection delivers: the realised preference is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def deal(
    mix: Sequence[float], grams: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], tuple[int, int]]:
    """The share of each of R requests that gets the more economical level, and the two levels that are dealt.

    `mix` are shares of L levels, `grams` is R x L, `weights` the requests' parts of the traffic, summing to 1. A linear
    programme with one floor mixes at most two levels: the first is the default, and the requests with the greatest
    difference in grams between the two get the second, until its share of the traffic is used up.
    """
    used = [level for level, share in enumerate(mix) if share > 0]
    first, second = used[0], used[-1]
    most_saving_first = np.argsort(grams[:, second] - grams[:, first], kind="stable")
    ordered = weights[most_saving_first]
    left = mix[second] - (np.cumsum(ordered) - ordered)
    dealt = np.zeros(len(grams))
    dealt[most_saving_first] = np.clip(left / np.maximum(ordered, np.finfo(float).tiny), 0.0, 1.0)
    return dealt if second != first else np.ones(len(grams)), (first, second)
