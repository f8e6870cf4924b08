from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from app.domain.attribution import Use
from app.domain.preference import from_picks
from app.simulation.evidence import EvidenceBook
from app.simulation.partition import Classes
from tests.support.recorded import a_recording

RECORDING = a_recording([0] * 60 + [1] * 6, [0, 1, 2] * 22)
BOTH = np.array([0.9, 0.1])
HALF_LIFE_H = 240.0


def a_book(
    *, asked_again_h: float = 0.0, classes: Classes | None = None, member: np.ndarray | None = None
) -> EvidenceBook:
    return EvidenceBook(
        recording=RECORDING,
        classes=classes or Classes(names=("v", "w"), floors=("v", "w")),
        member=RECORDING.workload if member is None else member,
        half_life_h=HALF_LIFE_H,
        asked_again_h=asked_again_h,
    )


def verdicts(book: EvidenceBook, hour: int) -> list[float]:
    """Weight of the verdicts on each class."""
    return [known.quality.gains[1].verdicts if known.quality else 0.0 for known in book.known(BOTH, hour)]


# Sampling.


def test_every_workload_with_traffic_is_sampled_alike_until_it_has_no_more() -> None:
    rng = np.random.default_rng(0)
    for number, expected in ((4, (2, 2)), (10, (5, 5)), (30, (24, 6)), (1000, (60, 6)), (0, (0, 0))):
        rows = a_book().sample(number, BOTH, 1, rng)
        assert len(set(rows.tolist())) == len(rows)
        counts = Counter(RECORDING.workload[rows].tolist())
        assert (counts[0], counts[1]) == expected


def test_an_odd_one_goes_to_either_workload() -> None:
    rng = np.random.default_rng(0)
    assert {int(RECORDING.workload[a_book().sample(1, BOTH, 1, rng)][0]) for _ in range(20)} == {0, 1}


def test_a_workload_without_traffic_is_not_sampled() -> None:
    rows = a_book().sample(1000, np.array([0.0, 1.0]), 1, np.random.default_rng(0))
    assert set(RECORDING.workload[rows].tolist()) == {1}


def test_a_request_is_judged_again_only_when_its_verdict_is_old() -> None:
    book, rng = a_book(asked_again_h=10), np.random.default_rng(0)
    book.judge(np.arange(50), 3)
    assert sorted(book.sample(1000, BOTH, 12, rng)) == list(range(50, 66))
    assert len(book.sample(1000, BOTH, 13, rng)) == 66


def test_evidence_is_thin_until_each_workload_with_traffic_has_enough_or_all_it_can_have() -> None:
    book = a_book()
    assert book.is_thin(BOTH)
    book.judge(np.arange(60), 1)
    assert book.is_thin(BOTH)
    assert not book.is_thin(np.array([1.0, 0.0]))
    book.judge(np.arange(60, 66), 2)
    assert not book.is_thin(BOTH)


def test_enough_is_three_hundred() -> None:
    book = EvidenceBook(
        recording=a_recording([0] * 400, [0] * 400, workloads=("v",)),
        classes=Classes(names=("v",), floors=("v",)),
        member=np.zeros(400, dtype=np.int64),
        half_life_h=1.0,
        asked_again_h=0.0,
    )
    book.judge(np.arange(299), 1)
    assert book.is_thin(np.array([1.0]))
    book.judge(np.arange(299, 300), 1)
    assert not book.is_thin(np.array([1.0]))


# Verdicts.


def test_a_request_judged_twice_counts_once() -> None:
    book = a_book()
    book.judge(np.arange(30), 1)
    book.judge(np.arange(30), 5)
    assert verdicts(book, 5) == [30, 0]


def test_a_verdict_counts_half_after_its_half_life_and_whole_when_it_is_new_again() -> None:
    book = a_book()
    book.judge(np.arange(30), 0)
    assert verdicts(book, 0)[0] == 30
    assert verdicts(book, 240)[0] == pytest.approx(15)
    assert verdicts(book, 480)[0] == pytest.approx(7.5)
    book.judge(np.arange(30, 40), 240)
    assert verdicts(book, 240)[0] == pytest.approx(15 + 10)
    assert verdicts(book, 480)[0] == pytest.approx(7.5 + 5)
    book.judge(np.arange(40), 480)
    assert verdicts(book, 480)[0] == pytest.approx(40)


def test_verdicts_fade_from_day_to_day() -> None:
    book = a_book()
    book.judge(np.arange(30), 0)
    found = [verdicts(book, hour)[0] for hour in (0, 23, 24, 47, 48)]
    assert found == pytest.approx([30, 30, 30 * 2**-0.1, 30 * 2**-0.1, 30 * 2**-0.2])


def test_the_latest_round_is_known_apart() -> None:
    book = a_book()
    book.judge(np.arange(30), 1)
    book.judge(np.arange(30, 36), 7)
    known = book.known(BOTH, 20)[0]
    assert known.latest == from_picks([2, 2, 2])
    assert known.quality is not None
    assert known.quality.gains[1].verdicts > 35


def test_rates_are_those_of_the_picks_and_nothing_is_known_without() -> None:
    book = a_book()
    assert all(known.quality is None and known.latest is None for known in book.known(BOTH, 0))
    book.judge(np.flatnonzero((RECORDING.pick == 1) & (RECORDING.workload == 0)), 1)
    first, second = book.known(BOTH, 1)
    assert first.quality == from_picks([0, 20, 0])
    assert second.quality is None
    assert (first.share, second.share) == (0.9, 0.1)


def test_what_a_level_uses_is_measured_by_rounds_and_l0_by_all_traffic() -> None:
    book = a_book()
    everything = RECORDING.energy_j[:60]
    l0 = Use(energy_j=pytest.approx(everything[:, 0].mean()), device_s=pytest.approx(everything[:, 0].mean() / 100))
    assert book.known(BOTH, 0)[0].uses == {0: l0}
    book.judge(np.array([4, 8]), 1)
    first, second = book.known(BOTH, 1)
    assert first.uses.keys() == {0, 1, 2}
    assert first.uses[0] == l0
    assert first.uses[2].energy_j == pytest.approx(everything[[4, 8], 2].mean())
    assert second.uses.keys() == {0}


def test_strata_are_seen_beside_their_workload() -> None:
    classes = Classes(names=("v~1", "v~2", "w"), floors=("v", "v", "w"))
    member = np.where(RECORDING.workload == 1, 2, (np.arange(66) >= 54).astype(int))
    book = a_book(classes=classes, member=member)
    book.judge(np.arange(54), 1)
    first, second, other = book.known(np.array([0.5, 0.4, 0.1]), 1)
    assert (first.floor, second.floor, other.floor) == ("v", "v", "w")
    # The second stratum was not judged: it is taken to be as the workload.
    assert second.quality is not None
    assert first.quality is not None
    assert second.quality.gains[1].mean == pytest.approx(first.quality.gains[1].mean)
    assert other.quality is None


def test_a_class_without_requests_to_learn_from_uses_nothing() -> None:
    classes = Classes(names=("v", "w", "x"), floors=("v", "w", "x"))
    book = a_book(classes=classes)
    book.judge(np.arange(66), 1)
    assert book.known(np.array([0.5, 0.5, 0.0]), 1)[2].uses == {0: Use()}
