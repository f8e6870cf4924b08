from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from app.domain.attribution import Use
from app.domain.preference import from_picks
from app.domain.sampling import allocate
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


def taken(book: EvidenceBook, number: int, shares: np.ndarray, hour: int = 1) -> tuple[int, int]:
    """How many of each workload a round samples, none twice."""
    rows = book.sample(number, shares, hour, np.random.default_rng(0))
    assert len(set(rows.tolist())) == len(rows)
    counts = Counter(RECORDING.workload[rows].tolist())
    return counts[0], counts[1]


@pytest.mark.parametrize("number", [0, 1, 4, 10, 30, 66, 1000])
@pytest.mark.parametrize("shares", [(0.9, 0.1), (0.5, 0.5), (0.2, 0.8)])
def test_a_round_is_allotted_as_in_live_service(number: int, shares: tuple[float, float]) -> None:
    book = a_book()
    book.judge(np.arange(20), 0)
    wanted = allocate(
        number,
        shares=dict(zip("vw", shares, strict=True)),
        verdicts={"v": 20 * 0.5 ** (24 / HALF_LIFE_H)},
        available={"v": 60, "w": 6},
    )
    assert taken(book, number, np.array(shares), hour=24) == (wanted.get("v", 0), wanted.get("w", 0))


def test_more_is_taken_where_evidence_is_thin_and_traffic_high() -> None:
    book = a_book()
    v, w = taken(book, 6, BOTH)
    assert v > w
    book.judge(np.arange(50), 1)
    assert taken(book, 6, BOTH, hour=2) == (0, 6)


def test_what_a_budget_cuts_off_is_no_workloads_alone() -> None:
    even, rng = np.array([0.5, 0.5]), np.random.default_rng(0)
    assert {int(RECORDING.workload[a_book().sample(12, even, 1, rng)][0]) for _ in range(20)} == {0, 1}


def test_a_workload_without_traffic_is_not_sampled() -> None:
    rows = a_book().sample(1000, np.array([0.0, 1.0]), 1, np.random.default_rng(0))
    assert set(RECORDING.workload[rows].tolist()) == {1}


def test_a_request_is_judged_again_only_when_its_verdict_is_old() -> None:
    book, rng = a_book(asked_again_h=10), np.random.default_rng(0)
    book.judge(np.arange(50), 3)
    assert sorted(book.sample(1000, BOTH, 12, rng)) == list(range(50, 66))
    assert len(book.sample(1000, BOTH, 13, rng)) == 66


def test_the_thinnest_evidence_is_that_of_a_workload_with_traffic_that_has_more_to_give() -> None:
    book = a_book(asked_again_h=100)
    assert book.thinnest(BOTH, 0) == 0
    book.judge(np.arange(50), 1)
    assert book.thinnest(BOTH, 1) == 0
    assert book.thinnest(np.array([1.0, 0.0]), 1) == 50
    book.judge(np.arange(60, 66), 1)
    assert book.thinnest(BOTH, 1) == 50
    book.judge(np.arange(50, 60), 1)
    assert book.thinnest(BOTH, 1) == np.inf
    assert book.thinnest(BOTH, 101) == pytest.approx(6 * 2 ** (-100 / HALF_LIFE_H))


def test_evidence_grows_thin_as_it_fades() -> None:
    book = a_book(asked_again_h=10_000)
    one = np.array([1.0, 0.0])
    book.judge(np.arange(40), 0)
    assert [book.thinnest(one, hour) for hour in (0, 240, 480)] == pytest.approx([40, 20, 10])
    book.judge(np.arange(40, 44), 240)
    assert book.thinnest(one, 480) == pytest.approx(10 + 2)


def test_the_papers_policies_are_never_urgent() -> None:
    book = a_book()
    book.last_round_only = True
    assert book.thinnest(BOTH, 1) == np.inf


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
