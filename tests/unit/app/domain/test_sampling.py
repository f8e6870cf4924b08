from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.sampling import allocate

AMPLE = 10_000

names = st.sampled_from("abcdef")
shares = st.dictionaries(names, st.floats(0.001, 1.0), min_size=1)
verdicts = st.dictionaries(names, st.floats(0.0, 5000.0))
available = st.dictionaries(names, st.integers(0, 300))
numbers = st.integers(0, 1000)


@given(numbers, shares, verdicts, available)
def test_as_many_are_taken_as_were_asked_for_or_are_there(
    number: int, shares: Mapping[str, float], verdicts: Mapping[str, float], available: Mapping[str, int]
) -> None:
    taken = allocate(number, shares=shares, verdicts=verdicts, available=available)
    assert sum(taken.values()) == min(number, sum(available.get(name, 0) for name in shares))
    assert all(0 < count <= available[name] for name, count in taken.items())
    assert taken.keys() <= shares.keys()


@given(numbers, shares, verdicts, st.data())
def test_of_two_with_equal_traffic_the_one_with_thinner_evidence_gets_no_fewer(
    number: int, shares: Mapping[str, float], verdicts: Mapping[str, float], data: Any
) -> None:
    equal = dict.fromkeys(shares, 0.5)
    taken = allocate(number, shares=equal, verdicts=verdicts, available=dict.fromkeys(equal, AMPLE))
    by_evidence = sorted(equal, key=lambda name: verdicts.get(name, 0.0))
    counts = [taken.get(name, 0) for name in by_evidence]
    # Of several with equal evidence, one or another gets what is left over.
    assert all(
        after <= before + (verdicts.get(one, 0.0) == verdicts.get(next_, 0.0))
        for one, next_, before, after in zip(by_evidence, by_evidence[1:], counts, counts[1:], strict=False)
    )


@given(numbers, shares, verdicts, available, st.floats(1.0, 20.0), names)
def test_more_traffic_never_means_fewer(
    number: int,
    shares: Mapping[str, float],
    verdicts: Mapping[str, float],
    available: Mapping[str, int],
    factor: float,
    name: str,
) -> None:
    more = {**shares, name: shares.get(name, 0.001) * factor}
    before, after = (
        allocate(number, shares=each, verdicts=verdicts, available=available).get(name, 0) for each in (shares, more)
    )
    assert after >= before


@given(numbers, shares, verdicts, available)
def test_a_larger_round_takes_no_fewer_of_any(
    number: int, shares: Mapping[str, float], verdicts: Mapping[str, float], available: Mapping[str, int]
) -> None:
    small, large = (
        allocate(each, shares=shares, verdicts=verdicts, available=available) for each in (number, number + 50)
    )
    assert all(large.get(name, 0) >= count - 1 for name, count in small.items())


@given(shares, verdicts)
def test_no_other_division_makes_the_whole_error_smaller(
    shares: Mapping[str, float], verdicts: Mapping[str, float]
) -> None:
    """What a few more would gain one workload, a few fewer would cost any other: rounding leaves a prompt or two."""
    taken = allocate(500, shares=shares, verdicts=verdicts, available=dict.fromkeys(shares, AMPLE))

    def error(name: str, count: int) -> float:
        return float(shares[name] * max(verdicts.get(name, 0.0) + count, 0.5) ** -0.5)

    for giver, given_ in taken.items():
        for taker in shares.keys() - {giver}:
            got = taken.get(taker, 0)
            gained = error(taker, got) - error(taker, got + 2)
            assert given_ < 3 or gained <= error(giver, given_ - 3) - error(giver, given_)


def test_a_workload_that_is_asked_eight_times_as_often_gets_four_times_as_many() -> None:
    taken = allocate(
        500, shares={"often": 0.8, "seldom": 0.1}, verdicts={}, available={"often": AMPLE, "seldom": AMPLE}
    )
    assert taken == {"often": 400, "seldom": 100}


def test_what_has_evidence_enough_gets_nothing() -> None:
    taken = allocate(
        100, shares={"new": 0.5, "known": 0.5}, verdicts={"known": 900.0}, available={"new": AMPLE, "known": AMPLE}
    )
    assert taken == {"new": 100}


def test_what_a_workload_cannot_give_the_others_share() -> None:
    available = {"few": 10, "one": AMPLE, "two": AMPLE}
    taken = allocate(110, shares=dict.fromkeys(available, 1.0), verdicts={}, available=available)
    assert taken == {"few": 10, "one": 50, "two": 50}


@pytest.mark.parametrize(
    ("number", "shares", "available"),
    [(0, {"a": 1.0}, {"a": 5}), (-3, {"a": 1.0}, {"a": 5}), (5, {}, {"a": 5}), (5, {"a": 0.0}, {"a": 5}),
     (5, {"a": 1.0}, {}), (5, {"a": 1.0}, {"a": 0})],
)  # fmt: skip
def test_where_there_is_nothing_to_take_nothing_is_taken(
    number: int, shares: Mapping[str, float], available: Mapping[str, int]
) -> None:
    assert allocate(number, shares=shares, verdicts={}, available=available) == {}
