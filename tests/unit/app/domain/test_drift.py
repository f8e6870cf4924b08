from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from app.domain.drift import RATE, Drop, Score, drops, last_drop


def held_against(expected: float, scores: Sequence[float]) -> Sequence[Score]:
    return [Score(score=score, expected=expected) for score in scores]


def first_drop(scores: Sequence[float], *, expected: float) -> Drop | None:
    return next(drops(held_against(expected, scores)), None)


WIN_RATES = (0.3, 0.45, 0.5, 0.6, 0.9)
TIES = (0.0, 0.4, 0.8)
"""Shares of ties, as far as the win rate leaves room for them."""
STREAMS = 150

Rng = np.random.Generator


def stream(rng: Rng, length: int, win_rate: float, ties: float) -> list[float]:
    tied = min(ties, 2 * win_rate, 2 * (1 - win_rate))
    won = win_rate - tied / 2
    return rng.choice([1.0, 0.5, 0.0], length, p=[won, tied, 1 - won - tied]).tolist()


def share(found: Sequence[bool]) -> float:
    return sum(found) / len(found)


@pytest.mark.parametrize("ties", TIES)
@pytest.mark.parametrize("win_rate", WIN_RATES)
def test_false_alarms_are_no_more_frequent_than_stated(win_rate: float, ties: float) -> None:
    """Begun anew after each, as a fresh start does, over 300 000 verdicts."""
    rng = np.random.default_rng(0)
    scores = stream(rng, 300_000, win_rate, ties)
    alarms = len(list(drops(held_against(win_rate, scores))))
    # Alarms are rare and independent: their number varies by its square root.
    allowed = RATE * len(scores)
    assert alarms <= allowed + 2 * allowed**0.5


@pytest.mark.parametrize("win_rate", WIN_RATES)
def test_within_any_number_of_verdicts_an_alarm_is_no_likelier_than_that_number_times_the_rate(win_rate: float) -> None:
    rng = np.random.default_rng(1)
    for length in (100, 500):
        found = [first_drop(stream(rng, length, win_rate, 0.2), expected=win_rate) is not None for _ in range(400)]
        assert share(found) <= RATE * length + 2 * (RATE * length / len(found)) ** 0.5


@pytest.mark.parametrize("win_rate", WIN_RATES)
def test_a_level_that_is_better_than_expected_is_left_alone(win_rate: float) -> None:
    rng = np.random.default_rng(2)
    found = [first_drop(stream(rng, 2000, win_rate, 0.2), expected=win_rate - 0.1) for _ in range(50)]
    assert found == [None] * 50


@pytest.mark.parametrize(("score", "expected"), [(0.5, 0.5), (1.0, 1.0), (1.0, 0.5)])
def test_verdicts_that_are_all_as_expected_never_raise_an_alarm(score: float, expected: float) -> None:
    assert first_drop([score] * 20_000, expected=expected) is None


@pytest.mark.parametrize("before", [0, 200])
@pytest.mark.parametrize("ties", TIES)
@pytest.mark.parametrize("win_rate", WIN_RATES)
def test_a_drop_of_30_points_is_found_soon(win_rate: float, ties: float, before: int) -> None:
    rng = np.random.default_rng(3)
    delays = []
    for _ in range(STREAMS):
        scores = stream(rng, before, win_rate, ties) + stream(rng, 600, max(win_rate - 0.3, 0.0), ties)
        drop = first_drop(scores, expected=win_rate)
        assert drop is not None
        delays.append(drop.found + 1 - before)
    assert np.median(delays) <= 50
    assert np.quantile(delays, 0.9) <= 80


@pytest.mark.parametrize("win_rate", WIN_RATES)
def test_where_a_drop_began_is_said_within_a_few_verdicts(win_rate: float) -> None:
    rng = np.random.default_rng(4)
    begun = []
    for _ in range(STREAMS):
        drop = first_drop(stream(rng, 200, win_rate, 0.2) + stream(rng, 600, win_rate - 0.3, 0.2), expected=win_rate)
        assert drop is not None
        begun.append(drop.first - 200)
    assert abs(np.median(begun)) <= 10


def test_the_mean_is_that_of_the_verdicts_since_the_drop_began() -> None:
    scores = [1.0] * 50 + [0.0] * 40
    drop = first_drop(scores, expected=0.6)
    assert drop is not None
    assert (drop.first, drop.mean, drop.expected) == (50, 0.0, pytest.approx(0.6))
    assert 50 < drop.found < 70


def test_of_what_is_expected_to_lose_always_there_is_no_drop() -> None:
    assert first_drop([0.0] * 1000, expected=0.0) is None


def test_each_verdict_is_held_against_what_is_expected_of_itself() -> None:
    """One stratum wins nearly always and another nearly never, as claimed of either."""
    rng = np.random.default_rng(4)
    claimed = rng.choice([0.9, 0.1], 2000)
    scores = [Score(score=float(rng.random() < each), expected=each) for each in claimed.tolist()]
    assert next(drops(scores), None) is None
    fallen = [Score(score=float(rng.random() < each - 0.4), expected=each) for each in claimed[:400].tolist()]
    assert last_drop([*scores[:400], *fallen]) is not None


@pytest.mark.parametrize("expected", [0.01, 0.3, 0.5, 0.97, 1.0])
def test_one_bad_verdict_is_no_drop_and_no_bet_loses_all(expected: float) -> None:
    assert first_drop([0.0], expected=expected) is None
    assert first_drop([1.0] * 100 + [0.0], expected=expected) is None
    assert first_drop([1.0] * 100 + [0.0] * 1000, expected=expected) is not None


def test_without_verdicts_there_is_no_drop() -> None:
    assert first_drop([], expected=0.5) is None


def test_the_last_drop_is_that_which_goes_on() -> None:
    scores = [0.0] * 40 + [1.0] * 100 + [0.0] * 60
    assert len(list(drops(held_against(0.6, scores)))) > 2
    drop = last_drop(held_against(0.6, scores))
    assert drop is not None
    assert (drop.first, drop.mean) == (140, 0.0)
    assert last_drop(held_against(0.6, [1.0] * 100)) is None
