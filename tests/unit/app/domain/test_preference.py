from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from app.domain.errors import InvalidInput
from app.domain.preference import (
    PAPER_PRIOR,
    PARTIAL_POOLING,
    Evidence,
    Gain,
    Quality,
    Tally,
    faded,
    from_picks,
    from_tally,
    pooled,
    stratified,
    weakest,
)

counts = st.integers(0, 10_000)
tallies = st.builds(Tally, wins=counts, ties=counts, losses=counts)
judged = tallies.filter(lambda tally: tally.verdicts > 0)


def known(tally: Tally, prior: Tally | None = None) -> Gain:
    found = from_tally(tally, prior)
    assert found is not None
    return found


def picked(*picks: float) -> Quality:
    found = from_picks(picks)
    assert found is not None
    return found


def measured(mean: float, sd: float = 0.0, verdicts: float = 0.0, evidence: Evidence = Evidence.MEASURED) -> Gain:
    return Gain(mean=mean, sd=sd, verdicts=verdicts, evidence=evidence)


def share(tally: Tally) -> float:
    return (tally.wins + tally.ties / 2) / tally.verdicts


# Win rates against L0.


def test_without_any_evidence_nothing_is_known() -> None:
    assert from_tally(Tally(), None) is None
    assert from_tally(Tally(), Tally()) is None


def test_a_prior_alone_is_marked_as_such_and_taken_as_it_is() -> None:
    found = known(Tally(), Tally(wins=2, ties=2, losses=6))
    assert (found.sd, found.evidence, found.verdicts) == (0, Evidence.PRIOR, 0)
    assert found.mean == pytest.approx(0.3 - 0.5)
    assert found.claim(0.99) == found.mean


@pytest.mark.parametrize(("verdicts", "evidence"), [(4, Evidence.MIXED), (9, Evidence.MIXED), (10, Evidence.MEASURED)])
def test_a_prior_counts_until_it_is_outnumbered(verdicts: int, evidence: Evidence) -> None:
    found = known(Tally(wins=verdicts), Tally(wins=5, losses=5))
    assert (found.evidence, found.verdicts) == (evidence, verdicts)


def test_verdicts_without_a_prior_are_a_measurement() -> None:
    assert known(Tally(losses=1)).evidence is Evidence.MEASURED


@given(judged, st.none() | tallies)
def test_the_posterior_of_a_win_rate_is_jeffreys_beta(tally: Tally, prior: Tally | None) -> None:
    every = tally + (prior or Tally())
    posterior = stats.beta(0.5 + every.wins + every.ties / 2, 0.5 + every.losses + every.ties / 2)
    found = known(tally, prior)
    assert found.mean == pytest.approx(posterior.mean() - 0.5, abs=1e-12)
    assert found.sd == pytest.approx(posterior.std())


def test_ties_count_half_to_each_side() -> None:
    assert known(Tally(ties=10)) == known(Tally(wins=5, losses=5))


@given(tallies, st.sampled_from(["wins", "ties"]), st.floats(0.5, 0.95))
def test_a_better_verdict_never_lowers_a_claim(tally: Tally, better: str, confidence: float) -> None:
    worse = known(tally + Tally(losses=1)).claim(confidence)
    assert known(tally + Tally(**{better: 1})).claim(confidence) >= worse


def test_a_declared_prior_is_outweighed() -> None:
    optimistic, pessimistic = Tally(wins=9, losses=1), Tally(wins=1, losses=9)

    def gap(k: int) -> float:
        even = Tally(wins=k, losses=k)
        return known(even, optimistic).claim(0.9) - known(even, pessimistic).claim(0.9)

    assert gap(1) > gap(10) > gap(1000)
    assert gap(1) > 0.3
    assert gap(1000) < 0.005


def test_tallies_add_up() -> None:
    assert Tally(wins=1, ties=2, losses=3) + Tally(wins=10, ties=20, losses=30) == Tally(wins=11, ties=22, losses=33)
    assert Tally(wins=1, ties=2, losses=3).verdicts == 6


def test_the_papers_prior_is_of_three_levels_and_below_even() -> None:
    l0, l1, l2 = PAPER_PRIOR.tallies
    assert l0 == Tally()
    assert share(l1) == pytest.approx(0.47699, abs=1e-5)
    assert share(l2) == pytest.approx(0.41678, abs=1e-5)
    assert l1.verdicts == pytest.approx(10)
    assert len(PAPER_PRIOR.relative_energy) == len(PAPER_PRIOR.relative_time) == 3
    assert PAPER_PRIOR.relative_energy == pytest.approx((1, 78.0 / 335.5, 52.1 / 335.5), rel=2e-3)
    assert PAPER_PRIOR.relative_time == pytest.approx((1, 1.131 / 4.857, 0.756 / 4.857), rel=2e-3)


# Picks among all levels.


@pytest.mark.parametrize("picks", [(7, 2, 1), (0, 0, 1), (400, 350, 90), (3.5, 1.25, 0.75), (10, 30)])
def test_the_posterior_of_picks_is_jeffreys_dirichlet(picks: Sequence[float]) -> None:
    draws = np.random.default_rng(7).dirichlet(np.array(picks) + 0.5, size=200_000)
    found = picked(*picks)
    assert found.base == pytest.approx(draws[:, 0].mean(), abs=0.002)
    assert found.gains.keys() == set(range(1, len(picks)))
    for level, gain in found.gains.items():
        difference = draws[:, level] - draws[:, 0]
        assert gain.mean == pytest.approx(difference.mean(), abs=0.003)
        assert gain.sd == pytest.approx(difference.std(), rel=0.01)
        assert (gain.verdicts, gain.evidence) == (sum(picks), Evidence.MEASURED)


@pytest.mark.parametrize("picks", [(), (0,), (0, 0, 0)])
def test_without_a_pick_nothing_is_known(picks: Sequence[float]) -> None:
    assert from_picks(picks) is None


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf"), -1.0])
def test_picks_that_are_no_number(bad: float) -> None:
    with pytest.raises(InvalidInput, match="must be finite and not negative"):
        from_picks([5, bad, 1])


@given(st.lists(st.floats(0, 1e4), min_size=2, max_size=5).filter(lambda picks: sum(picks) > 0))
def test_rates_of_all_levels_add_up_to_one(picks: list[float]) -> None:
    found = picked(*picks)
    assert found.base > 0
    assert found.base + sum(found.base + gain.mean for gain in found.gains.values()) == pytest.approx(1)


# Claims.


@given(judged, st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_what_is_claimed_with_more_confidence_is_less(tally: Tally, one: float, other: float) -> None:
    gain = known(tally)
    assert gain.claim(max(one, other)) <= gain.claim(min(one, other))
    assert gain.claim(0.5) == gain.mean
    assert gain.claim(0.9) < gain.mean < gain.claim(0.1)


def test_a_claim_is_a_quantile_of_the_normal_distribution() -> None:
    gain = measured(0.02, sd=0.01)
    for confidence in (0.2, 0.8, 0.9, 0.975):
        assert gain.claim(confidence) == pytest.approx(stats.norm(0.02, 0.01).ppf(1 - confidence))


def test_few_verdicts_claim_little_and_many_tend_to_the_truth() -> None:
    wins = [known(Tally(wins=5 * k, ties=2 * k, losses=3 * k)).claim(0.9) for k in (1, 2, 5, 20, 100, 1000, 10_000)]
    picks = [picked(5 * k, 6 * k, k).gains[1].claim(0.9) for k in (1, 2, 5, 20, 100, 1000, 10_000)]
    for claims, truth in ((wins, 0.1), (picks, 1 / 12)):
        assert claims[0] < -0.05
        assert all(earlier < later < truth for earlier, later in pairwise(claims))
        assert claims[-1] == pytest.approx(truth, abs=0.005)


@pytest.mark.parametrize("confidence", [0.5, 0.8, 0.9, 0.95])
def test_a_win_rate_is_claimed_too_high_as_rarely_as_it_says(confidence: float) -> None:
    rng = np.random.default_rng(20260302)
    for rate in (0.3, 0.5, 0.7):
        wins = rng.binomial(200, rate, size=2000)
        held = np.mean([known(Tally(wins=w, losses=200 - w)).claim(confidence) <= rate - 0.5 for w in wins])
        assert held == pytest.approx(confidence, abs=0.05)


@pytest.mark.parametrize("confidence", [0.5, 0.8, 0.9, 0.95])
def test_a_preference_is_claimed_too_high_as_rarely_as_it_says(confidence: float) -> None:
    rates = np.array([0.38, 0.35, 0.27])
    draws = np.random.default_rng(20260302).multinomial(333, rates, size=2000)
    for level in (1, 2):
        held = np.mean([picked(*draw).gains[level].claim(confidence) <= rates[level] - rates[0] for draw in draws])
        assert held == pytest.approx(confidence, abs=0.03)


def test_ties_make_a_claim_more_careful_than_it_says() -> None:
    draws = np.random.default_rng(20260302).multinomial(200, [0.2, 0.6, 0.2], size=2000)
    held = np.mean([known(Tally(wins=w, ties=t, losses=x)).claim(0.9) <= 0 for w, t, x in draws])
    assert held > 0.9


# Fading.


@given(st.floats(0, 1e8), st.floats(1, 1e7))
def test_a_verdict_counts_half_as_much_after_every_half_life(age_s: float, half_life_s: float) -> None:
    now = faded(age_s=age_s, half_life_s=half_life_s)
    assert 0 <= now <= 1
    assert faded(age_s=age_s + half_life_s, half_life_s=half_life_s) == pytest.approx(now / 2, rel=1e-6)


def test_a_new_verdict_counts_in_full_even_if_a_clock_was_ahead() -> None:
    assert faded(age_s=0, half_life_s=60) == faded(age_s=-30, half_life_s=60) == 1
    assert faded(age_s=60, half_life_s=60) == 0.5


# Several workloads as one.


def test_pooled_means_add_up_by_their_shares() -> None:
    one = Quality(base=0.4, gains={1: measured(0.1, sd=0.03, verdicts=10)})
    other = Quality(base=0.8, gains={1: measured(-0.1, sd=0.04, verdicts=30)})
    found = pooled([one, other], [3, 1], ["a", "b"])
    assert found.base == pytest.approx(0.5)
    assert found.gains[1].mean == pytest.approx(0.05)
    assert found.gains[1].sd == pytest.approx(((0.75 * 0.03) ** 2 + (0.25 * 0.04) ** 2) ** 0.5)
    assert found.gains[1].verdicts == 40


def test_pooled_without_traffic_all_count_the_same() -> None:
    qualities = [Quality(base=base, gains={1: measured(base / 2)}) for base in (0.2, 0.6)]
    found = pooled(qualities, [0, 0], ["a", "b"])
    assert (found.base, found.gains[1].mean) == (pytest.approx(0.4), pytest.approx(0.2))


def test_pooled_knows_only_what_is_known_of_all_and_no_better_than_of_the_weakest() -> None:
    measured_twice = Quality(base=0.5, gains={1: measured(0.1), 2: measured(0.1)})
    declared = Quality(base=0.5, gains={2: measured(0.1, evidence=Evidence.PRIOR), 3: measured(0.1)})
    found = pooled([measured_twice, declared], [1, 1], ["a", "b"])
    assert found.gains.keys() == {2}
    assert found.gains[2].evidence is Evidence.PRIOR


def test_one_workload_pooled_is_itself() -> None:
    assert pooled([picked(5, 3, 2)], [0.7], ["a"]) == picked(5, 3, 2)


# Strata.

WHOLE = Quality(base=0.4, gains={1: measured(-0.02, sd=0.01, verdicts=400)})


def means(whole: Quality, parts: Sequence[Quality | None]) -> list[float]:
    return [quality.gains[1].mean for quality in stratified(whole, parts)]


def stratum(mean: float, verdicts: float) -> Quality:
    return Quality(base=0.4, gains={1: measured(mean, sd=0.5, verdicts=verdicts)})


def test_a_stratum_without_verdicts_is_as_its_workload() -> None:
    assert stratified(WHOLE, [None, None]) == [WHOLE, WHOLE]
    unknown = Quality(base=0.4, gains={})
    assert means(WHOLE, [stratum(0.3, 50), None, stratum(-0.2, 900), unknown, stratum(0.9, 0)])[1::2] == [-0.02, -0.02]
    assert means(WHOLE, [stratum(0.3, 50), stratum(-0.2, 900), stratum(0.9, 0)])[2] == -0.02


def test_a_stratum_is_drawn_towards_its_workload_until_it_has_verdicts_of_its_own() -> None:
    drawn = [means(WHOLE, [stratum(0.08, n), stratum(-0.12, n)])[0] for n in (1, 10, PARTIAL_POOLING, 10_000, 1e7)]
    assert drawn[0] == pytest.approx(-0.02, abs=0.005)
    assert all(earlier < later for earlier, later in pairwise(drawn))
    assert drawn[2] == pytest.approx((-0.02 + 0.08) / 2)
    assert drawn[-1] == pytest.approx(0.08, abs=1e-4)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.floats(-0.5, 0.5), st.floats(1, 5000)), min_size=1, max_size=5), st.floats(-0.5, 0.5))
def test_strata_add_up_to_their_workload(parts: list[tuple[float, float]], common: float) -> None:
    whole = replace(WHOLE, gains={1: measured(common, sd=0.01)})
    found = means(whole, [stratum(mean, verdicts) for mean, verdicts in parts])
    verdicts = [number for _, number in parts]
    assert np.average(found, weights=verdicts) == pytest.approx(common, abs=1e-9)


def test_strata_have_the_base_and_the_uncertainty_of_their_workload() -> None:
    for found in stratified(WHOLE, [stratum(0.3, 50), stratum(-0.2, 900)]):
        assert found.base == WHOLE.base
        assert replace(found.gains[1], mean=0) == replace(WHOLE.gains[1], mean=0)


@pytest.mark.parametrize(
    ("kinds", "found"),
    [
        ([], Evidence.NONE),
        ([Evidence.NONE], Evidence.NONE),
        ([Evidence.MEASURED, Evidence.NONE], Evidence.MEASURED),
        ([Evidence.MEASURED, Evidence.MIXED], Evidence.MIXED),
        ([Evidence.MIXED, Evidence.PRIOR, Evidence.MEASURED], Evidence.PRIOR),
    ],
)
def test_a_figure_is_as_well_founded_as_the_weakest_it_rests_on(kinds: list[Evidence], found: Evidence) -> None:
    assert weakest(kinds) is found


def test_strata_pooled_into_the_service_are_as_uncertain_as_their_workload() -> None:
    whole = picked(46, 54, 0)
    strata = stratified(whole, [picked(8, 9, 0)] * 6)
    found = pooled(strata, [1] * 6, ["w"] * 6).gains[1]
    assert found.sd == pytest.approx(whole.gains[1].sd)
    assert found.verdicts == whole.gains[1].verdicts
