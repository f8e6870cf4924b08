from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.errors import InvalidInput
from app.domain.optimizer import FloorMode, FloorRule
from app.domain.policy import Base, Co2Opt, Decision, DirectivePolicy, Observation, Policy, SproutStatic, sprout
from app.simulation.dataset import Recording
from app.simulation.evidence import EvidenceBook
from app.simulation.outcome import Outcome
from app.simulation.partition import Workloads, partition
from app.simulation.replay import PAST_H, Conditions, Month, _Evaluator, empty_book, replay
from tests.support.recorded import a_month, a_recording, grams

FIT = a_recording([0, 1] * 40, [0, 1, 2, 0, 1] * 16)
SCORE = a_recording([0, 1, 1] * 10, [2, 1, 0, 0, 1] * 6)
AT_L0 = (1.0, 0.0, 0.0)


def ours(mode: FloorMode = FloorMode.PER_WORKLOAD, kept_at_l0: float = 0.01) -> DirectivePolicy:
    return DirectivePolicy(name="OURS", rule=FloorRule(mode=mode, kept_at_l0=kept_at_l0), confidence=0.6)


MAKERS: dict[str, Callable[[], Policy]] = {
    "BASE": Base,
    "CO2_OPT": Co2Opt,
    "SPROUT": lambda: sprout(0.1),
    "SPROUT_STA": lambda: SproutStatic(xi=0.1),
    **{f"OURS-{mode}": partial(ours, mode) for mode in FloorMode},
}
ANEW = Conditions(asked_again_h=0.0)
every_policy = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def run(
    policy: Policy,
    month: Month,
    *,
    fit: Recording = FIT,
    score: Recording = SCORE,
    conditions: Conditions | None = None,
    workloads: Workloads = Workloads.DECLARED,
) -> Outcome:
    parts = partition(fit, score, workloads, strata=False)
    return replay(policy, month, fit, score, parts, conditions or Conditions(), np.random.default_rng(0))


@dataclass(kw_only=True)
class Prying:
    """A policy that keeps all it is shown and decides as another."""

    decides: Policy
    name: str = "PRYING"
    shown: list[Observation] = field(default_factory=list)

    def decide(self, seen: Observation) -> Decision:
        self.shown.append(seen)
        return self.decides.decide(seen)


# Nothing sees the future.


def test_a_policy_is_shown_the_past_up_to_the_present_hour_and_no_further() -> None:
    month = a_month(hours=30, before=PAST_H - 10)
    spy = Prying(decides=ours())
    run(spy, month)
    assert len(spy.shown) == 30
    for hour, seen in enumerate(spy.shown):
        now = month.start + hour
        assert seen.past == month.intensity[max(now + 1 - PAST_H, 0) : now + 1].tolist()
        assert seen.intensity_g_per_kwh == seen.past[-1] == month.intensity[now]
    assert [len(seen.past) for seen in spy.shown[8:12]] == [719, 720, 720, 720]


def test_a_month_at_the_start_of_the_year_has_a_past_of_one_hour() -> None:
    assert a_month(before=0).past(0).tolist() == a_month(before=0).intensity[:1].tolist()


@every_policy
def test_what_comes_later_changes_no_mix(make: Callable[[], Policy]) -> None:
    month, wild = a_month(hours=40), a_month(hours=40, seed=1)
    hour = 20
    now = month.start + hour
    poisoned = replace(
        month,
        intensity=np.concatenate([month.intensity[: now + 1], wild.intensity[now + 1 :] ** 2]),
        traffic=np.concatenate([month.traffic[: hour + 1], wild.traffic[hour + 1 :]]),
    )
    as_it_was, changed = (run(make(), each, conditions=ANEW).mixes for each in (month, poisoned))
    assert (as_it_was[: hour + 1] == changed[: hour + 1]).all()
    if make().name in ("SPROUT", "OURS"):
        assert (as_it_was[hour + 1 :] != changed[hour + 1 :]).any()


@every_policy
def test_how_the_answers_that_are_scored_were_judged_changes_no_mix(make: Callable[[], Policy]) -> None:
    other = replace(SCORE, pick=(SCORE.pick + 1) % 3, correct=np.ones_like(SCORE.correct))
    month = a_month()
    as_it_was, changed = (run(make(), month, score=score) for score in (SCORE, other))
    assert (as_it_was.mixes == changed.mixes).all()
    assert as_it_was.preferred.tolist() != changed.preferred.tolist()


@every_policy
def test_what_comes_later_may_be_unknown(make: Callable[[], Policy]) -> None:
    month, hour = a_month(hours=30), 20
    blind = replace(
        month,
        intensity=np.where(np.arange(len(month.intensity)) > month.start + hour, np.nan, month.intensity),
        traffic=np.where(np.arange(30)[:, None] > hour, np.nan, month.traffic),
    )
    as_it_was, changed = Prying(decides=make()), Prying(decides=make())
    run(as_it_was, month, conditions=ANEW)
    with suppress(InvalidInput):
        run(changed, blind, conditions=ANEW)
    assert as_it_was.shown[: hour + 1] == changed.shown[: hour + 1]
    assert any(known.quality for known in changed.shown[hour].workloads)


@every_policy
def test_what_the_answers_that_are_scored_cost_matters_to_the_budget_alone(make: Callable[[], Policy]) -> None:
    other = replace(
        SCORE,
        pick=SCORE.pick[::-1],
        energy_j=SCORE.energy_j[::-1] * 7,
        device_s=SCORE.device_s[::-1, ::-1],
    )
    ample = Conditions(budget=1e6, most_per_round=20, asked_again_h=0.0)
    as_it_was, changed = (run(make(), a_month(), score=score, conditions=ample) for score in (SCORE, other))
    assert as_it_was.rounds > 0
    assert (as_it_was.mixes == changed.mixes).all()
    assert (as_it_was.base_g != changed.base_g).all()


# Evaluation.


@pytest.mark.parametrize("workloads", [Workloads.NONE, Workloads.DECLARED])
@pytest.mark.parametrize("name", ["CO2_OPT", "SPROUT", "SPROUT_STA", "OURS-per-workload"])
def test_nothing_is_known_before_the_first_round(name: str, workloads: Workloads) -> None:
    spy = Prying(decides=MAKERS[name]())
    outcome = run(spy, a_month(), workloads=workloads)
    learned = next(hour for hour, seen in enumerate(spy.shown) if any(known.quality for known in seen.workloads))
    # The first round runs at the end of the second hour at the earliest.
    assert learned >= 2
    for seen in spy.shown[:learned]:
        assert all(known.quality is None and known.latest is None for known in seen.workloads)
        assert all(known.uses.keys() == {0} for known in seen.workloads)
    assert (outcome.mixes[:learned] == AT_L0).all()
    assert (outcome.mixes[learned:] != AT_L0).any()


@every_policy
def test_without_a_budget_nothing_is_judged_and_all_stay_at_l0(make: Callable[[], Policy]) -> None:
    outcome = run(make(), a_month(), conditions=Conditions(budget=0.0))
    assert (outcome.mixes == AT_L0).all()
    assert (outcome.rounds, outcome.verdicts, outcome.evaluation_g) == (0, 0, 0.0)


@pytest.mark.parametrize("requests_per_hour", [1, 30, 1_000, 10_000])
@pytest.mark.parametrize("asked_again_h", [0.0, 720.0])
def test_rounds_never_take_more_than_their_share_of_what_was_served(
    requests_per_hour: int, asked_again_h: float
) -> None:
    conditions = Conditions(requests_per_hour=requests_per_hour, asked_again_h=asked_again_h)
    spent = []
    for hours in (4, 12, 36, 60, 96):
        month = a_month(hours=96)
        outcome = run(Co2Opt(), replace(month, traffic=month.traffic[:hours]), conditions=conditions)
        assert outcome.evaluation_g <= 0.01 * outcome.served_g.sum()
        spent.append(outcome.evaluation_g)
    assert spent == sorted(spent)
    assert spent[-1] > 0


def evaluator(conditions: Conditions, recording: Recording = FIT) -> tuple[_Evaluator, EvidenceBook]:
    book = empty_book(recording, partition(recording, SCORE, Workloads.NONE, strata=False), conditions)
    return _Evaluator(book=book, conditions=conditions, rng=np.random.default_rng(0)), book


PAST = np.full(48, 200.0)
DIRTY, CLEAN = np.append([100.0, 300.0] * 24, 290.0), np.append([100.0, 300.0] * 24, 150.0)
"""Their last hour is above and below their mean."""
TRAFFIC = np.array([0.5, 0.5])
NONE_AT_L0 = np.zeros(2)


@given(served=st.lists(st.floats(0, 1e4), min_size=1, max_size=100), asked_again_h=st.sampled_from([0.0, 10.0, 720.0]))
def test_the_budget_holds_after_every_hour(served: Sequence[float], asked_again_h: float) -> None:
    rounds, _ = evaluator(Conditions(asked_again_h=asked_again_h))
    for hour, served_g in enumerate(served):
        rounds.hour(hour, PAST, TRAFFIC, served_g, NONE_AT_L0)
        assert rounds.so_far.grams <= 0.01 * sum(served[: hour + 1]) + 1e-9


def price_of_a_prompt() -> float:
    uses = zip(FIT.energy_j.sum(axis=1), FIT.device_s.sum(axis=1), strict=True)
    return float(np.mean([grams(energy_j, device_s, 200.0) for energy_j, device_s in uses]))


def test_a_round_costs_what_answering_its_prompts_at_every_level_does() -> None:
    rounds, book = evaluator(Conditions())
    rounds.hour(1, PAST, TRAFFIC, 1e9, NONE_AT_L0)
    assert rounds.so_far.verdicts == len(FIT) == (book.judged_at == 1).sum()
    assert rounds.so_far.grams == pytest.approx(len(FIT) * price_of_a_prompt())


@pytest.mark.parametrize("at_l0", [(1.0, 0.5), (0.5, 0.0)])
def test_what_l0_has_answered_is_not_paid_for_and_used_once(at_l0: tuple[float, float]) -> None:
    rounds, _ = evaluator(
        Conditions(asked_again_h=0.0, requests_per_hour=160)
    )  # 80 of each workload, of which 40 are known
    rounds.hour(0, PAST, TRAFFIC, 0.0, np.array(at_l0))
    rounds.hour(1, PAST, TRAFFIC, 1e9, np.ones(2))
    spared = FIT.workload == 0 if at_l0[1] == 0 else np.ones(len(FIT), dtype=bool)
    spared_g = sum(grams(FIT.energy_j[row, 0], FIT.device_s[row, 0], 200.0) for row in np.flatnonzero(spared))
    first = rounds.so_far.grams
    assert first == pytest.approx(len(FIT) * price_of_a_prompt() - spared_g)
    rounds.hour(10, PAST, TRAFFIC, 1e9, NONE_AT_L0)
    assert rounds.so_far.grams - first == pytest.approx(len(FIT) * price_of_a_prompt())


def test_a_small_service_saves_up_for_its_first_round() -> None:
    rounds, book = evaluator(Conditions())
    hourly = 100 * price_of_a_prompt() / 20
    for hour in range(100):
        rounds.hour(hour, PAST, TRAFFIC, hourly, NONE_AT_L0)
        if hour < 5:
            assert rounds.so_far.rounds == 0
    assert rounds.so_far.rounds >= 3
    assert (book.judged_at >= 0).sum() == rounds.so_far.verdicts


def test_a_round_has_no_more_prompts_than_allowed() -> None:
    rounds, _ = evaluator(Conditions(most_per_round=7))
    rounds.hour(1, PAST, TRAFFIC, 1e9, NONE_AT_L0)
    assert rounds.so_far.verdicts == 7


def test_rounds_follow_each_other_while_evidence_is_thin() -> None:
    rounds, book = evaluator(Conditions(most_per_round=10))
    for hour in range(20):
        rounds.hour(hour, PAST, TRAFFIC, 1e9, NONE_AT_L0)
    # The first eight hours judge all 80.
    assert np.bincount(book.judged_at.astype(int)).tolist() == [0] + [10] * 8
    assert rounds.so_far.verdicts == 80


def test_the_papers_policies_ask_anew_and_ours_pools() -> None:
    month = a_month(hours=72)
    anew = run(sprout(0.1), month, conditions=Conditions(asked_again_h=0.0))
    pooled = run(ours(), month)
    assert anew.verdicts > len(FIT)
    assert pooled.verdicts == len(FIT)
    assert anew.rounds > 2


@pytest.mark.parametrize(("clean_at", "second"), [(50, 50), (100, 73)])
def test_an_open_round_waits_for_a_clean_hour_unless_it_is_forced(clean_at: int, second: int) -> None:
    rounds, book = evaluator(Conditions(most_per_round=80))
    rounds.hour(1, PAST, TRAFFIC, 1e9, NONE_AT_L0)
    book.asked_again_h = 0.0
    waited = 0
    for hour in range(2, second + 1):
        rounds.hour(hour, DIRTY if hour != clean_at else CLEAN, TRAFFIC, 1e9, NONE_AT_L0)
        waited += rounds.open is not None
    assert (rounds.so_far.hours, rounds.last) == ((1, second), second)
    assert waited > 10


LARGE = a_recording([0, 1] * 400, [0, 1, 2, 0, 1] * 160)


def test_an_urgent_round_opens_at_once_and_waits_for_the_gate() -> None:
    rounds, _ = evaluator(Conditions(most_per_round=200), LARGE)
    rounds.hour(1, DIRTY, TRAFFIC, 1e9, NONE_AT_L0)
    for hour in range(2, 30):
        rounds.hour(hour, DIRTY if hour < 20 else CLEAN, TRAFFIC, 1e9, NONE_AT_L0)
        assert (rounds.open is not None) == (hour < 20)
    # 200 in the first hour, when nothing is known, and once it is clean as many as make 300 of each; the first have
    # faded a little by then.
    assert rounds.so_far.hours == (1, 20, 21, 22)
    assert rounds.so_far.verdicts == 800


def test_an_urgent_round_that_finds_no_clean_hour_is_forced() -> None:
    rounds, _ = evaluator(Conditions(most_per_round=200), LARGE)
    for hour in range(1, 100):
        rounds.hour(hour, DIRTY, TRAFFIC, 1e9, NONE_AT_L0)
    assert rounds.so_far.hours == (1, 73)


def test_while_a_workload_is_bare_rounds_wait_for_no_gate() -> None:
    rounds, book = evaluator(Conditions(most_per_round=20), LARGE)
    for hour in range(1, 10):
        rounds.hour(hour, DIRTY, TRAFFIC, 1e9, NONE_AT_L0)
    # Of the 30 of either workload that three rounds judge, a little has faded.
    assert rounds.so_far.hours == (1, 2, 3, 4)
    assert np.bincount(LARGE.workload[book.judged_at > 0]).tolist() == [40, 40]


# Accounting.


def by_hand(month: Month, score: Recording, mixes: np.ndarray, requests_per_hour: int, whole: bool) -> dict[str, float]:
    """Every hour, request and level on its own."""
    totals = dict.fromkeys(("spent", "base", "picked", "picked_l0", "correct", "correct_l0"), 0.0)
    for hour, shares in enumerate(month.traffic):
        intensity = month.intensity[month.start + hour]
        for row, workload in enumerate(score.workload):
            number = requests_per_hour * shares[workload] / (score.workload == workload).sum()
            for level, share in enumerate(mixes[hour, 0 if whole else workload]):
                cost = grams(score.energy_j[row, level], score.device_s[row, level], intensity)
                totals["spent"] += number * share * cost
                totals["picked"] += number * share * (score.pick[row] == level)
                totals["correct"] += number * share * score.correct[row, level]
            totals["base"] += number * grams(score.energy_j[row, 0], score.device_s[row, 0], intensity)
            totals["picked_l0"] += number * (score.pick[row] == 0)
            totals["correct_l0"] += number * score.correct[row, 0]
    return totals


@pytest.mark.parametrize("workloads", [Workloads.NONE, Workloads.DECLARED])
def test_the_bill_is_that_of_every_single_request(workloads: Workloads) -> None:
    month = a_month(hours=8)
    rights = np.random.default_rng(3).integers(0, 2, SCORE.energy_j.shape).astype(float)
    score = replace(SCORE, correct=rights)
    outcome = run(ours(), month, score=score, workloads=workloads)
    assert (outcome.mixes[-1] != AT_L0).any()
    found = by_hand(month, score, outcome.mixes, 10_000, whole=workloads is Workloads.NONE)
    assert outcome.served_g.sum() == pytest.approx(found["spent"])
    assert outcome.base_g.sum() == pytest.approx(found["base"])
    assert outcome.preferred.sum(axis=0) == pytest.approx([found["picked"], found["picked_l0"]])
    assert outcome.correct.sum(axis=0) == pytest.approx([found["correct"], found["correct_l0"]])
    assert outcome.served_by_workload.sum(axis=0) == pytest.approx([found["spent"], found["base"]])
    assert outcome.requests.sum() == pytest.approx(8 * 10_000)


def test_always_l0_saves_nothing_and_loses_nothing() -> None:
    outcome = run(Base(), a_month())
    assert (outcome.served_g == outcome.base_g).all()
    assert (outcome.preferred[:, 0] == outcome.preferred[:, 1]).all()


# For any history.


@st.composite
def histories(draw: st.DrawFn) -> tuple[Month, Recording, Recording]:
    hours = draw(st.integers(1, 6))
    shares = st.lists(st.floats(0.01, 1), min_size=2, max_size=2)
    traffic = np.array(draw(st.lists(shares, min_size=hours, max_size=hours)))
    intensity = draw(st.lists(st.floats(0, 2000), min_size=hours + 2, max_size=hours + 2))
    month = Month(intensity=np.array(intensity), start=2, traffic=traffic / traffic.sum(axis=1, keepdims=True))
    picks = st.lists(st.integers(0, 2), min_size=40, max_size=40)
    fit, score = (a_recording([0, 1] * 20, draw(picks)) for _ in "fs")
    return month, fit, score


@given(history=histories())
@settings(max_examples=25)
def test_mixes_sum_to_one_and_no_figure_is_out_of_range(history: tuple[Month, Recording, Recording]) -> None:
    month, fit, score = history
    for make in MAKERS.values():
        outcome = run(make(), month, fit=fit, score=score)
        assert (outcome.mixes >= 0).all()
        assert outcome.mixes.sum(axis=2) == pytest.approx(1)
        assert outcome.evaluation_g <= 0.01 * outcome.served_g.sum() + 1e-9
        assert (outcome.served_g <= outcome.base_g + 1e-6).all()
