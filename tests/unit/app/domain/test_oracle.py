from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.domain.oracle import deal

EVEN = np.full(4, 0.25)
GRAMS = np.array([[10.0, 9.0, 1.0], [10.0, 5.0, 4.0], [10.0, 8.0, 8.0], [10.0, 2.0, 2.0]])
"""L2 saves 9, 6, 2 and 8 grams."""


def dealt(mix: tuple[float, ...], weights: NDArray[np.float64] = EVEN) -> list[float]:
    return deal(mix, GRAMS, weights)[0].tolist()


def test_the_requests_that_save_the_most_come_first() -> None:
    assert dealt((0.75, 0.0, 0.25)) == [1, 0, 0, 0]
    assert dealt((0.5, 0.0, 0.5)) == [1, 0, 0, 1]
    assert dealt((0.25, 0.0, 0.75)) == [1, 1, 0, 1]


def test_what_counts_is_the_difference_between_the_two_levels_that_are_dealt() -> None:
    assert deal((0.75, 0.25, 0.0), GRAMS, EVEN)[1] == (0, 1)
    assert dealt((0.75, 0.25, 0.0)) == [0, 0, 0, 1]
    assert deal((0.0, 0.75, 0.25), GRAMS, EVEN)[1] == (1, 2)
    assert dealt((0.0, 0.75, 0.25)) == [1, 0, 0, 0]


def test_the_last_request_is_dealt_in_part() -> None:
    assert dealt((0.6, 0.0, 0.4)) == pytest.approx([1, 0, 0, 0.6])


def test_a_request_that_stands_for_more_traffic_uses_up_more_of_it() -> None:
    assert dealt((0.5, 0.0, 0.5), np.array([0.4, 0.2, 0.2, 0.2])) == pytest.approx([1, 0, 0, 0.5])
    assert dealt((0.5, 0.0, 0.5), np.array([0.0, 0.5, 0.5, 0.0])) == [1, 1, 0, 1]


def test_requests_that_save_the_same_are_taken_in_their_order() -> None:
    assert deal((0.5, 0.5), np.array([[2.0, 1.0]] * 4), EVEN)[0].tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_mix_of_one_level_gives_it_to_all(level: int) -> None:
    shares, levels = deal(tuple(float(level == index) for index in range(3)), GRAMS, EVEN)
    assert (shares.tolist(), levels) == ([1, 1, 1, 1], (level, level))


requests = st.lists(
    st.tuples(st.floats(0, 10), st.floats(0, 10), st.floats(0.01, 1)), min_size=1, max_size=12
).map(np.array)  # fmt: skip


@given(requests, st.floats(0.01, 0.99))
def test_all_shares_add_up_to_the_mix_and_no_exchange_would_save_more(
    drawn: NDArray[np.float64], second: float
) -> None:
    grams, weights = drawn[:, :2], drawn[:, 2] / drawn[:, 2].sum()
    shares, levels = deal((1 - second, second), grams, weights)
    assert levels == (0, 1)
    assert ((shares >= 0) & (shares <= 1)).all()
    assert weights @ shares == pytest.approx(second, abs=1e-9)
    saved = grams[:, 0] - grams[:, 1]
    chosen, passed_over = saved[shares > 1e-9], saved[shares < 1 - 1e-9]
    assert chosen.min() >= passed_over.max()
