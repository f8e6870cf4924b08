from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from scipy.optimize import OptimizeResult

from app.domain import optimizer
from app.domain.attribution import Use
from app.domain.errors import IntensityUnavailable
from app.domain.intensity import HOUR, IntensityPoint
from app.domain.optimizer import FloorMode, FloorRule
from app.domain.policy import DirectivePolicy, Known, Observation
from app.domain.preference import PAPER_PRIOR, Quality, Tally, from_tally
from app.domain.profile import Profile
from app.grid.static import StaticProvider
from app.services import directives, observation
from app.store import intensity, mixes, profiles, results
from app.store.database import TENANT
from app.store.mixes import DirectiveMix, OptimizerRun
from tests.support.clock import NOON
from tests.support.factories import MODEL, a_mix, a_profile, a_result, a_run, line, store_batch, store_verdicts
from tests.support.services import Desk, Desks, jsonl

AT_L0 = (1.0, 0.0, 0.0)


def dirty(desk: Desk, *, now: float = 600.0, clean: float = 100.0) -> None:
    """A known past: this hour has `now`, the one before `clean` gCO2eq/kWh."""
    hour = desk.clock.now()
    points = [
        IntensityPoint(zone="WORLD", start=start, intensity_g_per_kwh=grams, basis="lifecycle-average", provider="test")
        for start, grams in ((hour - HOUR, clean), (hour, now))
    ]
    with desk.context.database.transaction() as connection:
        intensity.put(connection, points, hour)


def profile(desk: Desk, workload: str, energies: Sequence[float], requests: float = 100.0) -> None:
    entries = [
        Profile(
            workload=workload,
            level=level,
            requests=requests,
            energy_j=energy,
            energy_sd_j=0.0,
            device_s=energy / 100,
            device_sd_s=0.0,
            completion_tokens=energy,
        )
        for level, energy in enumerate(energies)
    ]
    with desk.context.database.transaction() as connection:
        profiles.put(connection, TENANT, MODEL, entries, desk.clock.now())


def judge(desk: Desk, workload: str, level: int, *, wins: int = 0, ties: int = 0, losses: int = 0) -> None:
    with desk.context.database.transaction() as connection:
        store_verdicts(
            connection,
            workload=workload,
            level=level,
            wins=wins,
            ties=ties,
            losses=losses,
            created_at=desk.clock.now(),
        )


def ensure(desk: Desk, *workloads: str) -> Mapping[str, DirectiveMix]:
    with desk.context.database.transaction() as connection:
        directives.ensure_mixes(desk.context, connection, TENANT, MODEL, workloads)
    return current(desk)


def current(desk: Desk) -> Mapping[str, DirectiveMix]:
    with desk.context.database.transaction() as connection:
        return mixes.current(connection, TENANT, "WORLD", MODEL)


class Silent(StaticProvider):
    """A source that does not answer."""

    def __init__(self) -> None:
        super().__init__(0.0, basis="")

    def fetch(self, zone: str, start: datetime, end: datetime) -> Sequence[IntensityPoint]:
        raise IntensityUnavailable("The source of carbon intensity does not answer.")


def recompute(desk: Desk) -> OptimizerRun:
    """With what is known of the intensity."""
    (run,) = directives.recompute(desk.context, Silent())
    return run


def levels(run: OptimizerRun, workload: str) -> Mapping[str, Mapping[str, Any]]:
    found: Mapping[str, Mapping[str, Any]] = run.inputs["workloads"][workload]["levels"]
    return found


def latest_run(desk: Desk) -> OptimizerRun:
    with desk.context.database.transaction() as connection:
        run = mixes.newest_run(connection, TENANT, "WORLD", MODEL)
    assert run is not None
    return run


def test_nothing_is_known_at_first(desk: Desk) -> None:
    assert directives.explained(desk.context, TENANT) == {"run": None, "mixes": []}


def test_without_evidence_everything_runs_at_l0(desk: Desk) -> None:
    dirty(desk)
    mix = ensure(desk, "default")["default"]
    assert mix.probabilities == AT_L0
    assert mix.evidence == "none"
    run = latest_run(desk)
    assert (run.outcome, run.created_at) == ("solved", NOON)
    assert "Optimal" in run.solver_status
    assert run.reason == "every workload keeps 90.0% of its own L0 quality"
    assert run.inputs["phi"] == 1.0
    assert run.inputs["past_hours"] == 2
    assert run.inputs["intensity"]["intensity_g_per_kwh"] == 600.0
    assert run.inputs["intensity"]["start"] == NOON.isoformat()
    assert (run.inputs["intensity"]["age_h"], run.inputs["floor_fraction"]) == (0, 0.9)
    assert run.inputs["policy"] == {
        "name": "OURS", "mode": "per-workload", "xi": 0.1, "quality_worth": 0.25, "kept_at_l0": 0.01, "confidence": 0.6,
    }  # fmt: skip
    assert run.inputs["hardware"]["pue"] == 1.0
    l0 = {
        "energy_j": 1.0, "device_s": 1.0, "claimed_gain": 0.0, "mean_gain": 0.0, "verdicts": 0.0, "evidence": "none",
    }  # fmt: skip
    assert run.inputs["workloads"] == {
        "default": {
            "floor": "default", "share": 1.0, "base_quality": None, "evidence": "none", "verdicts": 0,
            "levels": {"L0": l0},
        }
    }  # fmt: skip


def test_a_declared_prior_stands_in(desks: Desks) -> None:
    desk = desks.desk(prior="paper")
    dirty(desk)
    mix = ensure(desk, "default")["default"]
    assert mix.evidence == "prior, not measured"
    assert mix.binding is True
    assert mix.probabilities[0] >= 0.01
    assert sum(mix.probabilities[1:]) > 0.5
    found = levels(latest_run(desk), "default")
    assert found["L2"]["energy_j"] == pytest.approx(PAPER_PRIOR.relative_energy[2])
    gain = sum(p * found[f"L{level}"]["claimed_gain"] for level, p in enumerate(mix.probabilities))
    assert gain == pytest.approx(-0.1 * 0.5)


def test_a_prior_of_other_levels_is_no_prior(desks: Desks) -> None:
    desk = desks.desk(prior="paper", directives=["", "short"])
    dirty(desk)
    assert ensure(desk, "default")["default"].probabilities == (1.0, 0.0)


def test_a_clean_hour_gives_up_no_quality(desks: Desks) -> None:
    desk = desks.desk(prior="paper")
    dirty(desk, now=100.0, clean=600.0)
    assert ensure(desk, "default")["default"].probabilities == AT_L0
    assert latest_run(desk).inputs["phi"] == 0.0


def test_verdicts_outweigh_the_prior(desks: Desks) -> None:
    desk = desks.desk(prior="paper")
    dirty(desk)
    judge(desk, "bad", 1, losses=60)
    judge(desk, "bad", 2, losses=60)
    judge(desk, "good", 2, wins=60)
    found = ensure(desk, "bad", "good", "unknown")
    assert found["bad"].probabilities[0] > 0.85
    assert found["bad"].evidence == "measured"
    assert found["good"].probabilities[2] == pytest.approx(0.99)
    assert found["unknown"].probabilities[0] < 0.5


def test_no_workload_pays_for_another(desk: Desk) -> None:
    dirty(desk)
    for workload in ("good", "bad"):
        profile(desk, workload, (100.0, 30.0, 15.0))
    judge(desk, "good", 2, wins=200)
    judge(desk, "bad", 2, losses=200)
    found = ensure(desk, "good", "bad")
    assert found["good"].probabilities == pytest.approx((0.01, 0.0, 0.99))
    assert found["good"].binding is False
    assert found["bad"].probabilities[0] > 0.89
    assert found["bad"].binding is True


def test_a_level_without_verdicts_is_not_used(desk: Desk) -> None:
    dirty(desk)
    profile(desk, "default", (100.0, 30.0, 1.0))
    judge(desk, "default", 1, wins=100)
    mix = ensure(desk, "default")["default"]
    assert mix.probabilities == pytest.approx((0.01, 0.99, 0.0))


def test_a_level_that_was_not_judged_and_has_no_profile_is_not_used(desk: Desk) -> None:
    dirty(desk)
    profile(desk, "default", (100.0, 30.0))
    assert ensure(desk, "default")["default"].probabilities == AT_L0


def test_a_level_that_was_judged_and_never_served_is_priced_by_the_length_of_its_answers(desk: Desk) -> None:
    dirty(desk)
    profile(desk, "default", (100.0,))
    with desk.context.database.transaction() as connection:
        store_verdicts(connection, wins=100, level=2, length=30, l0_length=120, created_at=desk.clock.now())
    assert ensure(desk, "default")["default"].probabilities == (0.01, 0.0, 0.99)
    assert levels(latest_run(desk), "default")["L2"]["energy_j"] == pytest.approx(25.0)


@pytest.mark.parametrize(("requests", "own"), [(0.1, 0.1 / 10.1), (10.0, 0.5), (990.0, 0.99)])
def test_a_declared_ratio_counts_as_ten_requests(desks: Desks, requests: float, own: float) -> None:
    desk = desks.desk(prior="paper")
    dirty(desk)
    profile(desk, "default", (100.0, 90.0, 80.0), requests=requests)
    ensure(desk, "default")
    expected = own * 90.0 + (1 - own) * 100.0 * PAPER_PRIOR.relative_energy[1]
    assert levels(latest_run(desk), "default")["L1"]["energy_j"] == pytest.approx(expected)


def one_level(desk: Desk, level: int, energy_j: float) -> None:
    entry = a_profile(level=level, energy_j=energy_j, device_s=energy_j / 100)
    with desk.context.database.transaction() as connection:
        profiles.put(connection, TENANT, MODEL, [entry], desk.clock.now())


def test_a_workload_that_never_ran_at_l0_is_not_taken_for_nominal(desk: Desk) -> None:
    one_level(desk, 2, 50.0)
    (seen,) = look(desk, "default")
    assert seen.uses == dict.fromkeys((0, 2), Use(energy_j=50.0, device_s=0.5))


def test_a_declared_ratio_says_what_l0_would_use(desks: Desks) -> None:
    desk = desks.desk(prior="paper")
    one_level(desk, 2, 50.0)
    (seen,) = look(desk, "default")
    l0_j = 50.0 / PAPER_PRIOR.relative_energy[2]
    joules = [seen.uses[level].energy_j for level in range(3)]
    assert joules == pytest.approx([l0_j, l0_j * PAPER_PRIOR.relative_energy[1], 50.0])


def look(desk: Desk, *names: str) -> Sequence[Known]:
    with desk.context.database.transaction() as connection:
        settings, now = desk.context.settings, desk.clock.now()
        return observation.look(connection, settings, MODEL, TENANT, names, now, "WORLD").workloads


def test_known_workloads_are_left_alone(desk: Desk) -> None:
    dirty(desk)
    first = ensure(desk, "default")["default"]
    desk.clock.advance(seconds=1)
    assert ensure(desk, "default")["default"] == first
    assert set(ensure(desk, "default", "mail")) == {"default", "mail"}
    assert desk.rows("SELECT count(*) FROM optimizer_runs") == [2]


def spent(desk: Desk, energies: Sequence[float], **changes: Any) -> None:
    """Results of one batch that drew their level, one per figure."""
    with desk.context.database.transaction() as connection:
        batch = store_batch(connection, lines=len(energies))
        drawn_from = a_mix(workload=changes.get("workload", "default"), created_at=NOON - timedelta(days=90))
        mixes.add(connection, TENANT, a_run(created_at=drawn_from.created_at, outcome="l0"), [drawn_from])
        changes = {"mix_id": drawn_from.id, **changes}
        rows = [
            a_result(batch, number, energy_j=energy, device_s=energy / 10, finished_at=desk.clock.now(), **changes)
            for number, energy in enumerate(energies, 1)
        ]
        results.record(connection, rows)


def test_profiles_come_from_the_ledger(desk: Desk) -> None:
    dirty(desk)
    spent(desk, [10.0, 20.0, 30.0], level=0)
    spent(desk, [1.0], level=2)
    spent(desk, [7.0], workload="mail")
    spent(desk, [500.0], status_code=400)
    spent(desk, [500.0], model="another")
    run = recompute(desk)
    stored = desk.rows("SELECT workload, level, requests, energy_j, energy_sd_j, device_s FROM profiles ORDER BY 1, 2")
    sd_j = (200 / 3) ** 0.5
    assert stored == [
        ("default", 0, 3, 20.0, pytest.approx(sd_j), 2.0),
        ("default", 2, 1, 1.0, 0.0, 0.1),
        ("mail", 0, 1, 7.0, 0, 0.7),
    ]
    assert set(current(desk)) == {"default", "mail"}
    shares = {name: entry["share"] for name, entry in run.inputs["workloads"].items()}
    assert shares == {"default": 0.8, "mail": 0.2}


def test_pinned_requests_are_no_part_of_a_profile(desk: Desk) -> None:
    spent(desk, [10.0])
    spent(desk, [1000.0], mix_id=None)
    recompute(desk)
    assert desk.rows("SELECT requests, energy_j FROM profiles") == [(1, 10.0)]


def test_a_dear_past_fades_after_the_machine_changed(desk: Desk) -> None:
    spent(desk, [1000.0] * 8, completion_tokens=400)
    for week in range(4):
        desk.clock.advance(days=7)
        spent(desk, [10.0] * 8, completion_tokens=40)
        recompute(desk)
        old, new = 8 * 0.5 ** (week + 1), 8 * (2 - 0.5**week)
        ((requests, energy_j, tokens),) = desk.rows("SELECT requests, energy_j, completion_tokens FROM profiles")
        assert requests == pytest.approx(old + new)
        assert energy_j == pytest.approx((old * 1000 + new * 10) / (old + new))
        assert tokens == pytest.approx((old * 400 + new * 40) / (old + new))
    assert energy_j < 50


def test_recomputing_again_changes_nothing(desk: Desk) -> None:
    spent(desk, [1.0, 2.0])
    desk.clock.advance(days=3)
    recompute(desk)
    first = desk.rows("SELECT * FROM profiles")
    recompute(desk)
    assert desk.rows("SELECT * FROM profiles") == first


def test_what_was_measured_stays_however_long_nothing_comes(desk: Desk) -> None:
    spent(desk, [70.0], level=0)
    recompute(desk)
    desk.clock.advance(days=300)
    recompute(desk)
    (seen,) = look(desk, "default")
    assert seen.uses[0] == Use(energy_j=70.0, device_s=7.0)


def test_a_run_without_any_workload(desk: Desk) -> None:
    dirty(desk)
    run = recompute(desk)
    assert (run.outcome, run.solver_status) == ("solved", "no workload yet")
    assert current(desk) == {}


def test_without_intensity_a_new_workload_runs_at_l0(desks: Desks) -> None:
    desk = desks.desk(prior="paper")
    assert ensure(desk, "default")["default"].probabilities == AT_L0
    run = latest_run(desk)
    assert run.outcome == "l0"
    assert run.reason == "No recent carbon intensity of zone WORLD is known. Everything runs at L0."
    assert run.inputs["intensity"] is None


@pytest.mark.parametrize(
    ("hours", "outcome"), [(1, "solved"), (3, "solved"), (4, "last_good"), (24, "last_good"), (25, "l0")]
)
def test_the_last_good_mix_stays_for_a_day(desks: Desks, hours: int, outcome: str) -> None:
    desk = desks.desk(prior="paper")
    dirty(desk)
    good = ensure(desk, "default")["default"].probabilities
    assert good != AT_L0
    desk.clock.advance(hours=hours)
    run = recompute(desk)
    assert run.outcome == outcome
    assert current(desk)["default"].probabilities == (AT_L0 if outcome == "l0" else good)
    assert latest_run(desk) == run
    if outcome == "last_good":
        assert run.reason.endswith("The last good mixes stay.")
        assert ensure(desk, "mail")["mail"].probabilities == AT_L0


def test_good_mixes_return_with_the_intensity(desks: Desks) -> None:
    desk = desks.desk(prior="paper")
    dirty(desk)
    good = ensure(desk, "default")["default"].probabilities
    desk.clock.advance(hours=30)
    recompute(desk)
    assert current(desk)["default"].probabilities == AT_L0
    desk.clock.advance(hours=1)
    dirty(desk)
    recompute(desk)
    assert current(desk)["default"].probabilities == pytest.approx(good)


class Provider(StaticProvider):
    """Notes what it is asked for."""

    def __init__(self) -> None:
        super().__init__(300.0, basis="lifecycle-average")
        self.asked: list[tuple[datetime, datetime]] = []

    def fetch(self, zone: str, start: datetime, end: datetime) -> Sequence[IntensityPoint]:
        self.asked.append((start, end))
        return super().fetch(zone, start, end)


def test_a_batch_brings_mixes_for_its_workloads(desks: Desks) -> None:
    desk = desks.desk(prior="paper")
    dirty(desk)
    desk.validated(jsonl([line()]), metadata={"sprout_workload": "mail"})
    assert current(desk)["mail"].evidence == "prior, not measured"


def test_recomputing_brings_the_intensity_up_to_date(desk: Desk) -> None:
    (run,) = directives.recompute(desk.context, Provider())
    assert run.outcome == "solved"
    assert run.inputs["intensity"]["start"] == NOON.isoformat()
    assert run.inputs["past_hours"] == 721
    assert run.inputs["phi"] == 0.0


def test_live_service_decides_as_the_policy_does(desk: Desk) -> None:
    """From the same figures the policy object of the replay gives the same mixes."""
    dirty(desk, now=400.0, clean=100.0)
    profile(desk, "mail", (120.0, 60.0, 40.0), requests=30)
    profile(desk, "news", (300.0, 50.0, 20.0), requests=10)
    tallies = {("mail", 1): Tally(wins=40, losses=50), ("mail", 2): Tally(wins=20, ties=5, losses=30)}
    tallies["news", 2] = Tally(wins=12, ties=3, losses=11)
    for (workload, level), tally in tallies.items():
        judge(desk, workload, level, wins=int(tally.wins), ties=int(tally.ties), losses=int(tally.losses))
    known = [
        Known(
            workload=workload,
            floor=workload,
            share=share,
            uses={level: Use(energy_j=joules, device_s=joules / 100) for level, joules in enumerate(energies)},
            quality=Quality(
                base=0.5,
                gains={
                    level: gain
                    for (name, level), tally in tallies.items()
                    if name == workload and (gain := from_tally(tally, None))
                },
            ),
        )
        for workload, share, energies in (("mail", 0.75, (120.0, 60.0, 40.0)), ("news", 0.25, (300.0, 50.0, 20.0)))
    ]
    rule = FloorRule(mode=FloorMode.PER_WORKLOAD, xi=0.1, quality_worth=0.25, kept_at_l0=0.01)
    seen = Observation(
        intensity_g_per_kwh=400.0, past=[100.0, 400.0], workloads=known, levels=3, hardware=desk.context.hardware
    )
    expected = DirectivePolicy(name="OURS", rule=rule, confidence=0.6).decide(seen)
    found = ensure(desk, "mail", "news")
    assert {name: mix.probabilities for name, mix in found.items()} == expected.mixes
    assert {name for name, mix in found.items() if mix.binding} == expected.binding
    assert latest_run(desk).inputs["floor_fraction"] == expected.floor


def test_verdicts_fade(desk: Desk) -> None:
    judge(desk, "default", 2, wins=200)
    profile(desk, "default", (100.0, 30.0, 15.0))
    desk.clock.advance(seconds=3 * desk.context.settings.verdict_half_life_s)
    judge(desk, "default", 2, losses=100)
    dirty(desk)
    ensure(desk, "default")
    found = levels(latest_run(desk), "default")["L2"]
    assert found["verdicts"] == pytest.approx(200 / 8 + 100)
    assert found["mean_gain"] == pytest.approx((25 + 0.5) / (125 + 1) - 0.5)


def test_few_verdicts_claim_less_than_their_mean(desks: Desks) -> None:
    def mix(confidence: float) -> tuple[Mapping[str, Any], DirectiveMix]:
        desk = desks.desk(confidence=confidence)
        desk.clock.advance(seconds=1)
        name = f"w{confidence}"
        profile(desk, name, (100.0, 30.0, 15.0))
        judge(desk, name, 2, wins=16, losses=24)
        found = ensure(desk, name)[name]
        return levels(latest_run(desk), name)["L2"], found

    dirty(desks.desk())
    at_face_value, bold = mix(0.5)
    bounded, careful = mix(0.9)
    assert at_face_value["claimed_gain"] == at_face_value["mean_gain"] == bounded["mean_gain"]
    assert bounded["claimed_gain"] < bounded["mean_gain"] - 0.05
    assert careful.probabilities[2] < bold.probabilities[2]


def test_strata_share_the_floor_of_their_workload(desk: Desk) -> None:
    """Long answers, of which brevity saves much, may give up what the short ones do not."""
    dirty(desk)
    profile(desk, "mail~1", (100.0, 90.0, 80.0))
    profile(desk, "mail~2", (900.0, 200.0, 90.0))
    judge(desk, "mail~1", 2, wins=45, losses=55)
    judge(desk, "mail~2", 2, wins=40, losses=60)
    judge(desk, "mail", 2, wins=43, losses=57)
    found = ensure(desk, "mail~1", "mail~2")
    entries = latest_run(desk).inputs["workloads"]
    assert {entry["floor"] for entry in entries.values()} == {"mail"}
    gains = {name: entry["levels"]["L2"] for name, entry in entries.items()}
    assert gains["mail~1"]["claimed_gain"] > gains["mail~2"]["claimed_gain"]
    assert [gain["verdicts"] for gain in gains.values()] == [300.0, 300.0]
    assert found["mail~2"].probabilities[2] > found["mail~1"].probabilities[2]
    kept = sum(0.5 * found[name].probabilities[2] * gain["claimed_gain"] for name, gain in gains.items())
    assert kept >= -0.1 * 0.5 - 1e-6


def test_a_workload_beside_its_strata_has_the_quality_of_all(desk: Desk) -> None:
    dirty(desk)
    profile(desk, "mail", (100.0, 30.0, 15.0))
    judge(desk, "mail~1", 1, wins=45, losses=5)
    judge(desk, "mail~2", 1, wins=25, losses=25)
    judge(desk, "mailing", 1, losses=50)
    ensure(desk, "mail", "mail~1", "mail~2", "mail~3")
    run = latest_run(desk)
    means = {name: levels(run, name)["L1"]["mean_gain"] for name in ("mail", "mail~1", "mail~2", "mail~3")}
    assert means["mail"] == pytest.approx(70.5 / 101 - 0.5)
    assert means["mail~1"] > means["mail~3"] > means["mail~2"]
    assert (means["mail~1"] + means["mail~2"]) / 2 == pytest.approx(means["mail"])


def test_a_stratum_without_verdicts_takes_its_workloads(desks: Desks) -> None:
    desk = desks.desk(prior="paper")
    dirty(desk)
    found = ensure(desk, "mail~1")["mail~1"]
    assert found.evidence == "prior, not measured"
    desk.clock.advance(seconds=1)
    judge(desk, "mail~2", 1, wins=20)
    judge(desk, "mail~2", 2, wins=20)
    found = ensure(desk, "mail~2")["mail~1"]
    assert found.evidence == "measured"


def test_a_stratum_without_a_profile_has_its_workloads_mean_use(desk: Desk) -> None:
    dirty(desk)
    profile(desk, "mail~1", (100.0, 40.0), requests=30)
    profile(desk, "mail~2", (500.0, 120.0), requests=10)
    profile(desk, "mail~3", (50.0,))
    profile(desk, "mailing", (7.0, 7.0))
    judge(desk, "mail", 1, wins=50)
    ensure(desk, "mail~1", "mail~2", "mail~3", "mail~4")
    run = latest_run(desk)
    l0 = (30 * 100 + 10 * 500 + 100 * 50) / 140
    energies = {name: [found["energy_j"] for found in levels(run, name).values()] for name in run.inputs["workloads"]}
    assert energies["mail~1"] == [100.0, 40.0]
    assert energies["mail~4"] == pytest.approx([l0, 60.0])
    assert energies["mail~3"] == pytest.approx([50.0, 60.0 * 50.0 / l0]), "in the ratio to its own L0"


def test_what_has_no_traffic_yet_has_some_weight(desk: Desk) -> None:
    """With none in its floor, its mix would be left to chance."""
    dirty(desk, now=100.0, clean=600.0)
    profile(desk, "mail~1", (100.0, 30.0, 15.0), requests=99)
    judge(desk, "mail", 2, losses=500)
    found = ensure(desk, "mail~1", "mail~2")
    shares = {name: entry["share"] for name, entry in latest_run(desk).inputs["workloads"].items()}
    assert shares == pytest.approx({"mail~1": 297 / 298, "mail~2": 1 / 298})
    assert found["mail~2"].probabilities == pytest.approx(AT_L0)


def two_workloads(desk: Desk) -> Mapping[str, DirectiveMix]:
    """One that is as good at any level, and one that is not."""
    dirty(desk)
    for workload in ("good", "bad"):
        profile(desk, workload, (100.0, 30.0, 15.0))
    judge(desk, "good", 2, wins=500, losses=500)
    judge(desk, "bad", 2, wins=300, losses=700)
    return ensure(desk, "good", "bad")


def test_an_aggregate_floor_names_the_workload_that_pays(desks: Desks) -> None:
    found = two_workloads(desk := desks.desk(floor_mode="aggregate", quality_worth=0.0, confidence=0.5))
    assert found["bad"].probabilities[2] > 0.2
    run = latest_run(desk)
    left = 1 - 0.2 * found["bad"].probabilities[2] / 0.5
    assert run.reason == (
        "all workloads together keep 90.0% of their L0 quality; the worst of them, bad, can only claim "
        f"{left:.1%} of its own"
    )


def test_a_service_has_one_mix(desks: Desks) -> None:
    found = two_workloads(desk := desks.desk(floor_mode="service"))
    assert found["good"].probabilities == found["bad"].probabilities
    run = latest_run(desk)
    assert run.reason.startswith(
        "the service taken as one workload keeps 90.0% of its L0 quality; the worst of them, b"
    )
    assert levels(run, "good")["L2"]["claimed_gain"] == levels(run, "bad")["L2"]["claimed_gain"]
    assert levels(run, "good")["L2"]["verdicts"] == 2000.0


def test_a_service_of_which_only_a_part_was_judged(desks: Desks) -> None:
    desk = desks.desk(floor_mode="service")
    dirty(desk)
    for workload in ("judged", "new"):
        profile(desk, workload, (100.0, 30.0, 15.0))
    judge(desk, "judged", 2, wins=100)
    found = ensure(desk, "judged", "new")
    assert found["new"].probabilities == pytest.approx((0.01, 0.0, 0.99))
    assert found["new"].evidence == "measured"
    assert "judged, can only claim" in latest_run(desk).reason


@pytest.mark.parametrize("garbage", [float("nan"), float("inf")])
def test_a_profile_of_garbage_ends_at_l0_with_a_reason(desk: Desk, garbage: float) -> None:
    dirty(desk)
    profile(desk, "default", (garbage, 30.0, 15.0))
    judge(desk, "default", 2, wins=50)
    assert ensure(desk, "default")["default"].probabilities == AT_L0
    run = latest_run(desk)
    assert (run.outcome, run.solver_status, run.inputs["floor_fraction"]) == ("l0", "not solved", None)
    assert run.reason == (
        "The optimizer needs finite, non-negative figures: check the profiles, verdicts and intensity. Everything runs "
        "at L0."
    )
    assert levels(run, "default")["L0"]["energy_j"] is None
    assert levels(run, "default")["L2"]["energy_j"] == 15.0


@pytest.mark.parametrize("fault", ["solver", "garbage"])
def test_the_last_good_mix_stays_when_nothing_can_be_solved(
    desks: Desks, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    desk = desks.desk(prior="paper")
    dirty(desk)
    good = ensure(desk, "default")["default"]
    desk.clock.advance(hours=1)
    if fault == "solver":
        failed = OptimizeResult(status=1, x=None, message="Time limit reached. (HiGHS Status 13)")
        monkeypatch.setattr(optimizer, "milp", lambda *_, **__: failed)
    else:
        profile(desk, "default", (float("nan"), 30.0, 15.0))
    run = recompute(desk)
    assert (run.outcome, run.solver_status) == ("last_good", "not solved")
    assert ("Time limit reached" in run.reason) == (fault == "solver")
    assert run.reason.endswith(" The last good mixes stay.")
    assert current(desk) == {"default": good}
    desk.clock.advance(hours=24)
    dirty(desk)
    assert recompute(desk).outcome == "l0"
    assert current(desk)["default"].probabilities == AT_L0
