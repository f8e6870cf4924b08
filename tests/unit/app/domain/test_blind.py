from __future__ import annotations

from itertools import product

import pytest

from app.domain.blind import Choice, level_at, level_of, pair_id, said, ticket_of, voter_name
from app.domain.errors import InvalidInput
from app.domain.judging import Vote

TICKET, SEED, OTHER = "a" * 32, "b" * 32, "c" * 32
SEEDS = [f"{number:032x}" for number in range(1000)]


def test_a_pair_is_known_again_by_whoever_has_its_seed() -> None:
    for level in (1, 2):
        pair = pair_id(TICKET, SEED, "ada", level)
        assert (ticket_of(pair), level_of(pair, SEED, "ada", 3)) == (TICKET, level)


def test_a_pair_is_one_voter_s_and_one_sample_s() -> None:
    pair = pair_id(TICKET, SEED, "ada", 2)
    assert level_of(pair, SEED, "bob", 3) is None
    assert level_of(pair, OTHER, "ada", 3) is None
    assert level_of(pair, SEED, "ada", 2) is None


@pytest.mark.parametrize("pair", ["", "pair_", f"pair_{TICKET}", f"pair_{TICKET}{'g' * 32}", "\ud800", "pair_é", "\0"])
def test_what_is_no_pair(pair: str) -> None:
    assert ticket_of(pair) is None
    assert level_of(pair, SEED, "ada", 3) is None


def test_names_of_all_levels_look_alike() -> None:
    names = {pair_id(TICKET, seed, "ada", level) for seed, level in product(SEEDS, (1, 2, 10))}
    assert len(names) == 3 * len(SEEDS)
    assert {len(name) for name in names} == {69}


@pytest.mark.parametrize("level", [1, 2])
def test_the_place_is_a_fair_coin_and_always_falls_alike(level: int) -> None:
    places = [level_at(seed, "ada", level) for seed in SEEDS]
    # Four standard deviations of a fair coin are 63.
    assert 437 < sum(places) < 563
    assert places == [level_at(seed, "ada", level) for seed in SEEDS]


@pytest.mark.parametrize(("one", "other"), [(("ada", 1), ("bob", 1)), (("ada", 1), ("ada", 2))])
def test_the_place_for_one_voter_or_level_says_nothing_about_another(
    one: tuple[str, int], other: tuple[str, int]
) -> None:
    same = sum(level_at(seed, *one) == level_at(seed, *other) for seed in SEEDS)
    assert 437 < same < 563


@pytest.mark.parametrize(
    ("choice", "at", "vote"),
    [
        (Choice.FIRST, 0, Vote.LEVEL),
        (Choice.FIRST, 1, Vote.L0),
        (Choice.SECOND, 0, Vote.L0),
        (Choice.SECOND, 1, Vote.LEVEL),
        (Choice.NEITHER, 0, Vote.NEITHER),
        (Choice.NEITHER, 1, Vote.NEITHER),
    ],
)
def test_what_a_choice_says(choice: Choice, at: int, vote: Vote) -> None:
    assert said(choice, level_at=at) is vote


@pytest.mark.parametrize("text", ["", "  ", "a" * 65, "a\nb", "a\0", "\ud800", "\x1b[31m"])
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(InvalidInput, match="printable"):
        voter_name(text)


def test_names_are_taken_without_the_space_around_them() -> None:
    assert voter_name(" Ada Lovelace ") == "Ada Lovelace"
    assert voter_name("é" * 64) == "é" * 64
