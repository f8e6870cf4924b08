from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from app.domain.bias import (
    FEWEST_PAIRS,
    LARGEST_POSITION_BIAS,
    LENGTH_SD,
    Bias,
    Counted,
    biases,
    corrected,
)
from app.domain.judging import Outcome, Vote, outcome
from app.domain.preference import Tally

Rng = np.random.Generator
FOUND = 0.05
"""How near a win rate must be to the truth."""
SEEDS = range(5)
VERDICTS = 3000
"""In a cell: chance alone then stays below half of FOUND."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Pairs of one level of one workload."""

    workload: str
    level: int
    truth: float
    """The win rate at equal length."""
    longer: float
    """Share of the level's answers that are longer than L0's."""
    equal: float = 0.0
    settled: float = 0.0
    """Share of all whose answers are the same."""


# Levels are mostly the shorter ones, as brief answers are.
CELLS = (
    Cell(workload="quiz", level=1, truth=0.55, longer=0.15),
    Cell(workload="quiz", level=2, truth=0.35, longer=0.05),
    Cell(workload="sums", level=1, truth=0.65, longer=0.3, equal=0.1),
    Cell(workload="sums", level=2, truth=0.5, longer=0.1, equal=0.05),
    Cell(workload="talk", level=1, truth=0.4, longer=0.5),
    Cell(workload="talk", level=2, truth=0.3, longer=0.02),
)

Votes = tuple[Vote, Vote]
Mind = Callable[[Rng, Cell, int], Votes]
"""The votes on a pair when the level's answer is shown first, and second; given what is longer (1, 0, -1)."""


def says(level: bool) -> Vote:
    return Vote.LEVEL if level else Vote.L0


def shifting(*, first: float = 0.0, longer: float = 0.0) -> Mind:
    """Every vote is random: one for the first is that much likelier than one for the second, and so with the longer."""

    def mind(rng: Rng, cell: Cell, x: int) -> Votes:
        middle = cell.truth + longer / 2 * x
        return says(rng.random() < middle + first / 2), says(rng.random() < middle - first / 2)

    return mind


def following(*, first: float = 0.0, longer: float = 0.0) -> Mind:
    """In some pairs it looks at nothing but the place or the length; of all others it knows the truth."""

    def mind(rng: Rng, cell: Cell, x: int) -> Votes:
        if rng.random() < first:
            return Vote.LEVEL, Vote.L0
        if rng.random() < longer and x:
            return says(x > 0), says(x > 0)
        truth = says(rng.random() < cell.truth)
        return truth, truth

    return mind


def judged(mind: Mind, rng: Rng, cells: Sequence[Cell] = CELLS, judge: str = "engine:m") -> Sequence[Counted]:
    return [count for cell in cells for count in _judged(mind, rng, cell, judge)]


def _judged(mind: Mind, rng: Rng, cell: Cell, judge: str) -> Sequence[Counted]:
    settled = round(cell.settled * VERDICTS)
    own = {"judge": judge, "workload": cell.workload, "level": cell.level}
    found = [Counted(**own, longer=0, tally=Tally(ties=settled), asked=False)]
    signs = rng.choice([1, 0, -1], VERDICTS - settled, p=[cell.longer, cell.equal, 1 - cell.longer - cell.equal])
    for sign in (1, 0, -1):
        votes = [mind(rng, cell, sign) for _ in range(int((signs == sign).sum()))]
        said = [outcome(pair) for pair in votes]
        found.append(
            Counted(
                **own,
                longer=sign,
                tally=Tally(
                    wins=said.count(Outcome.WIN), ties=said.count(Outcome.TIE), losses=said.count(Outcome.LOSS)
                ),
                pairs=len(votes),
                first_twice=votes.count((Vote.LEVEL, Vote.L0)),
                second_twice=votes.count((Vote.L0, Vote.LEVEL)),
            )
        )
    return found


def rate(tally: Tally) -> float:
    return (tally.wins + tally.ties / 2) / tally.verdicts


def errors(counted: Sequence[Counted], cells: Sequence[Cell] = CELLS) -> Sequence[float]:
    found = corrected(counted)
    return [rate(found[cell.workload, cell.level]) - truth(cell) for cell in cells]


def truth(cell: Cell) -> float:
    return cell.truth + cell.settled * (0.5 - cell.truth)


def raw_errors(counted: Sequence[Counted], cells: Sequence[Cell] = CELLS) -> Sequence[float]:
    found: dict[tuple[str, int], Tally] = {}
    for count in counted:
        key = count.workload, count.level
        found[key] = found.get(key, Tally()) + count.tally
    return [rate(found[cell.workload, cell.level]) - truth(cell) for cell in cells]


def largest(values: Sequence[float]) -> float:
    return max(abs(value) for value in values)


FAIR = [pytest.param(shifting(), id="chance"), pytest.param(following(), id="knowing")]
LONGER = [pytest.param(shifting(longer=0.2), id="shifted"), pytest.param(following(longer=0.2), id="followed")]
FIRST = [pytest.param(shifting(first=0.2), id="shifted"), pytest.param(following(first=0.2), id="followed")]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("mind", FAIR)
def test_the_verdicts_of_a_judge_without_a_bias_say_what_they_said(mind: Mind, seed: int) -> None:
    counted = judged(mind, np.random.default_rng(seed))
    (bias,) = biases(counted).values()
    assert abs(bias.position) < 0.02
    assert abs(bias.length) < 0.03
    assert largest(errors(counted)) < FOUND


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("mind", LONGER)
def test_the_true_win_rates_are_found_under_a_judge_that_prefers_the_longer(mind: Mind, seed: int) -> None:
    counted = judged(mind, np.random.default_rng(seed))
    assert largest(errors(counted)) < FOUND
    assert largest(raw_errors(counted)) > FOUND


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("mind", FIRST)
def test_the_true_win_rates_are_found_under_a_judge_that_prefers_the_first(mind: Mind, seed: int) -> None:
    counted = judged(mind, np.random.default_rng(seed))
    (bias,) = biases(counted).values()
    assert bias.position == pytest.approx(0.2, abs=0.02)
    assert largest(errors(counted)) < FOUND


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("mind", [shifting(first=-0.1, longer=0.1), following(first=0.1, longer=0.1)])
def test_both_biases_at_once_are_told_apart(mind: Mind, seed: int) -> None:
    assert largest(errors(judged(mind, np.random.default_rng(seed)))) < FOUND


@pytest.mark.parametrize(
    ("mind", "off"),
    [
        (shifting(first=0.2), 1 / 9),
        (following(first=0.2), -1 / 9),
        (shifting(longer=0.2), 1 / 9),
        (following(longer=0.2), -1 / 9),
    ],
)
@pytest.mark.parametrize("win_rate", [0.1, 0.9])
def test_what_is_left_of_clear_win_rates(win_rate: float, mind: Mind, off: float) -> None:
    """A ninth too far, or not far enough, as the module says: verdicts do not show what kind of a bias it is."""
    cells = (Cell(workload="clear", level=1, truth=win_rate, longer=0.5),)
    (error,) = errors(judged(mind, np.random.default_rng(0), cells), cells)
    assert error == pytest.approx(off * (win_rate - 0.5), abs=0.02)


@pytest.mark.parametrize("seed", SEEDS)
def test_equal_answers_say_nothing_about_what_length_does(seed: int) -> None:
    """They tie whatever the judge is, and would make the shorter ones look judged for their length."""
    cells = (
        Cell(workload="quiz", level=1, truth=0.25, longer=0.1, settled=0.4),
        Cell(workload="quiz", level=2, truth=0.3, longer=0.1, settled=0.2),
    )
    counted = judged(shifting(), np.random.default_rng(seed), cells)
    (bias,) = biases(counted).values()
    assert abs(bias.length) < 0.06
    assert largest(errors(counted, cells)) < FOUND


def test_a_level_that_is_always_the_shorter_one_counts_with_what_is_not_known_of_length() -> None:
    """Its own verdicts cannot tell length from level: that much of an error stays, however many there are."""
    cells = (Cell(workload="quiz", level=1, truth=0.5, longer=0.0),)
    counted = judged(shifting(), np.random.default_rng(0), cells)
    (bias,) = biases(counted).values()
    assert (bias.length, bias.length_sd) == (0.0, pytest.approx(LENGTH_SD))
    known = corrected(counted)["quiz", 1]
    assert known.common_sd == pytest.approx(LENGTH_SD, rel=0.05)


@pytest.mark.parametrize("seed", SEEDS)
def test_other_workloads_tell_what_length_does_to_a_level_that_is_always_shorter(seed: int) -> None:
    cells = (
        Cell(workload="quiz", level=1, truth=0.5, longer=0.0),
        Cell(workload="talk", level=1, truth=0.6, longer=0.5),
    )
    counted = judged(shifting(longer=0.2), np.random.default_rng(seed), cells)
    assert largest(errors(counted, cells)) < FOUND
    assert corrected(counted)["quiz", 1].verdicts > 300


def test_a_judge_that_mostly_follows_the_place_is_not_believed() -> None:
    counted = judged(following(first=0.6), np.random.default_rng(0))
    (bias,) = biases(counted).values()
    assert bias.position > LARGEST_POSITION_BIAS
    assert not bias.is_believed
    assert not any(tally.verdicts for tally in corrected(counted).values())
    assert Bias(verdicts=5, pairs=FEWEST_PAIRS - 1, position=1.0).is_believed


def test_what_follows_the_place_counts_for_fewer_verdicts() -> None:
    fair, following_place = (
        corrected(judged(following(first=share), np.random.default_rng(0)))["talk", 1].verdicts for share in (0.0, 0.2)
    )
    assert following_place / fair == pytest.approx(0.8**2, rel=0.1)


@pytest.mark.parametrize("judge", ["human", "human:anna", "reference"])
def test_people_and_references_are_taken_as_they_are(judge: str) -> None:
    counted = judged(shifting(longer=0.2), np.random.default_rng(0), judge=judge)
    assert errors(counted) == pytest.approx(raw_errors(counted))
    assert corrected(counted)["quiz", 1].verdicts == VERDICTS


def test_each_judge_is_corrected_for_its_own_bias_and_all_of_them_count() -> None:
    rng = np.random.default_rng(0)
    counted = [*judged(shifting(longer=0.2), rng, judge="engine:a"), *judged(shifting(longer=-0.1), rng, judge="b")]
    assert {judge: bias.length for judge, bias in biases(counted).items()} == {
        "engine:a": pytest.approx(0.1, abs=0.03),
        "b": pytest.approx(-0.05, abs=0.03),
    }
    assert largest(errors(counted)) < FOUND


def test_without_verdicts_nothing_is_known_of_a_judge_but_what_judges_are_like() -> None:
    nothing = [Counted(judge="engine", workload="w", level=1, longer=0, tally=Tally())]
    assert biases(nothing) == {"engine": Bias(verdicts=0)}
    assert corrected(nothing) == {}
    assert biases([]) == {}
