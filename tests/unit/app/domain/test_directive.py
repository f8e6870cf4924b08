from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from app.domain.directive import PAPER_DIRECTIVES, draw_level, parse_level
from app.domain.errors import InvalidInput

mixes = st.lists(st.floats(0, 1), min_size=1, max_size=6).filter(lambda values: sum(values) > 1e-6)


def draw(mix: tuple[float, ...] | list[float], number: int, mix_id: str = "mix_1") -> int:
    return draw_level(mix, request_key=f"batch_1/request-{number}", mix_id=mix_id)


def test_l0_has_no_text() -> None:
    assert PAPER_DIRECTIVES == ("", "Always answer briefly", "Always answer very briefly")


@pytest.mark.parametrize(
    ("text", "level"), [("L0", 0), ("l2", 2), ("1", 1), (" L1 ", 1), ("auto", None), ("AUTO", None)]
)
def test_levels(text: str, level: int | None) -> None:
    assert parse_level(text, levels=3, param="p") == level


@pytest.mark.parametrize("text", ["L3", "", "L", "LL1", "L 1", "Lauto", "-0", "+1", "1e0", "²", "none", "9" * 5000])
def test_what_is_no_level(text: str) -> None:
    with pytest.raises(InvalidInput, match="use auto or one of L0, L1, L2") as refusal:
        parse_level(text, levels=3, param="p")
    assert refusal.value.param == "p"
    assert len(refusal.value.message) < 200


def test_more_than_ten_levels() -> None:
    assert parse_level("L11", levels=12, param="p") == 11


def test_a_draw_is_the_same_wherever_it_is_made() -> None:
    # Fixed for ever: a shard that is run again, by whatever version, must draw the same levels.
    assert [draw((0.5, 0.3, 0.2), number) for number in range(20)] == [
        0, 2, 0, 0, 1, 0, 1, 1, 0, 0, 1, 2, 0, 0, 1, 1, 1, 0, 0, 0,
    ]  # fmt: skip


def test_another_mix_is_another_draw() -> None:
    first, second = ([draw((0.5, 0.5), number, mix_id) for number in range(100)] for mix_id in ("mix_1", "mix_2"))
    assert 20 < sum(a != b for a, b in zip(first, second, strict=True)) < 80


@pytest.mark.parametrize("mix", [(0.5, 0.3, 0.2), (0.01, 0.98, 0.01), (0.0, 0.5, 0.5), (0.25,) * 4])
def test_frequencies_are_those_of_the_mix(mix: tuple[float, ...]) -> None:
    number = 20_000
    counted = np.bincount([draw(mix, i) for i in range(number)], minlength=len(mix))
    possible = np.array(mix) > 0
    assert counted[~possible].sum() == 0
    assert chisquare(counted[possible], number * np.array(mix)[possible]).pvalue > 1e-3


def test_draws_of_one_request_under_many_mixes_are_spread_too() -> None:
    counted = np.bincount([draw((0.5, 0.5), 1, f"mix_{i}") for i in range(5000)])
    assert chisquare(counted).pvalue > 1e-3


@given(mixes, st.text(max_size=20), st.text(max_size=20))
def test_a_level_of_probability_zero_is_never_drawn(mix: list[float], request_key: str, mix_id: str) -> None:
    assert mix[draw_level(mix, request_key=request_key, mix_id=mix_id)] > 0


@pytest.mark.parametrize("total", [1 - 1e-7, 1 + 1e-7, 0.5])
def test_a_mix_that_does_not_quite_sum_to_one_keeps_its_proportions(total: float) -> None:
    mix = (0.75 * total, 0.25 * total, 0.0)
    counted = np.bincount([draw(mix, i) for i in range(5000)], minlength=3)
    assert counted[2] == 0
    assert chisquare(counted[:2], (3750, 1250)).pvalue > 1e-3
