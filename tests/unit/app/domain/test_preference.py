from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.preference import CONFIDENCE, PAPER_PRIOR, Evidence, Tally, quality

counts = st.integers(0, 10_000)
tallies = st.builds(Tally, wins=counts, ties=counts, losses=counts)


def claim(tally: Tally, prior: Tally | None = None) -> float:
    found = quality(tally, prior)
    assert found is not None
    return found.win_rate


def share(tally: Tally) -> float:
    return (tally.wins + tally.ties / 2) / tally.verdicts


def test_without_any_evidence_nothing_is_claimed() -> None:
    assert quality(Tally(), None) is None
    assert quality(Tally(), Tally()) is None


def test_a_prior_alone_is_marked_as_such() -> None:
    found = quality(Tally(), Tally(wins=4, ties=2, losses=4))
    assert found is not None
    assert (found.win_rate, found.evidence, found.verdicts) == (0.5, Evidence.PRIOR, 0)


def test_pseudo_verdicts_are_not_counted_as_verdicts() -> None:
    found = quality(Tally(wins=3, losses=1), Tally(wins=100, losses=100))
    assert found is not None
    assert (found.evidence, found.verdicts) == (Evidence.MIXED, 4)


def test_more_verdicts_tighten_the_claim_towards_their_share() -> None:
    claims = [claim(Tally(wins=5 * k, ties=2 * k, losses=3 * k)) for k in (1, 2, 5, 20, 100, 1000, 10_000)]
    assert all(earlier < later < 0.6 for earlier, later in pairwise(claims))
    assert claims[-1] == pytest.approx(0.6, abs=0.003)


def test_a_declared_prior_is_outweighed() -> None:
    optimistic, pessimistic = Tally(wins=9, losses=1), Tally(wins=1, losses=9)
    gaps = [
        claim(Tally(wins=k, losses=k), optimistic) - claim(Tally(wins=k, losses=k), pessimistic) for k in (1, 10, 1000)
    ]
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[0] > 0.3
    assert gaps[2] < 0.005


@given(tallies.filter(lambda tally: tally.verdicts > 0))
def test_a_claim_is_a_rate_below_the_mean_of_its_posterior(tally: Tally) -> None:
    mean = (0.5 + tally.wins + tally.ties / 2) / (1 + tally.verdicts)
    assert 0 <= claim(tally) < mean


@given(tallies, st.sampled_from(["wins", "ties"]))
def test_a_better_verdict_never_lowers_a_claim(tally: Tally, better: str) -> None:
    worse = tally + Tally(losses=1)
    assert claim(tally + Tally(**{better: 1})) >= claim(worse)


def test_ties_count_half_to_each_side() -> None:
    assert claim(Tally(ties=10)) == claim(Tally(wins=5, losses=5))


def test_the_bound_holds_as_often_as_it_says() -> None:
    rng = np.random.default_rng(20260302)
    for rate in (0.3, 0.5, 0.8):
        wins = rng.binomial(40, rate, size=2000)
        held = np.mean([claim(Tally(wins=w, losses=40 - w)) <= rate for w in wins])
        assert CONFIDENCE - 0.04 < held < CONFIDENCE + 0.06


def test_tallies_add_up() -> None:
    assert Tally(wins=1, ties=2, losses=3) + Tally(wins=10, ties=20, losses=30) == Tally(wins=11, ties=22, losses=33)


def test_the_papers_prior_is_of_three_levels_and_below_even() -> None:
    l0, l1, l2 = PAPER_PRIOR.tallies
    assert l0 == Tally()
    assert share(l1) == pytest.approx(0.47699, abs=1e-5)
    assert share(l2) == pytest.approx(0.41678, abs=1e-5)
    assert l1.verdicts == pytest.approx(10)
    assert len(PAPER_PRIOR.relative_energy) == len(PAPER_PRIOR.relative_time) == 3
    assert PAPER_PRIOR.relative_energy == pytest.approx((1, 78.0 / 335.5, 52.1 / 335.5), rel=2e-3)
    assert PAPER_PRIOR.relative_time == pytest.approx((1, 1.131 / 4.857, 0.756 / 4.857), rel=2e-3)
