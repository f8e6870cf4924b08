"""What the directive mixes are computed from, and the mixes: intensity, profiles, verdicts, windows, runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from app.domain.intensity import HOUR, IntensityPoint
from app.domain.judging import Kind
from app.domain.preference import Tally, faded
from app.domain.profile import Profile
from app.store import intensity, mixes, profiles, verdicts, windows
from app.store.windows import Window, WindowTotal
from tests.support.clock import NOON
from tests.support.factories import FINGERPRINT, MODEL, a_mix, a_run, store_mix, store_verdicts

BASIS = "lifecycle-average"


def point(hours: int, grams: float = 100.0, **changes: Any) -> IntensityPoint:
    values: dict[str, Any] = {"zone": "DE", "basis": BASIS, "provider": "test", "start": NOON + hours * HOUR, **changes}
    return IntensityPoint(intensity_g_per_kwh=grams, **values)


def test_a_known_hour_takes_the_newer_figure(connection: Connection) -> None:
    intensity.put(connection, [point(0, 100), point(1, 200)], NOON)
    intensity.put(connection, [point(1, 250, provider="better"), point(2, 300)], NOON + HOUR)
    intensity.put(connection, [], NOON)
    assert intensity.between(connection, "DE", BASIS, NOON, NOON + 9 * HOUR) == [
        point(0, 100),
        point(1, 250, provider="better"),
        point(2, 300),
    ]


def test_an_hour_twice_in_one_delivery(connection: Connection) -> None:
    intensity.put(connection, [point(0, 100), point(0, 200)], NOON)
    assert intensity.latest(connection, "DE", BASIS, NOON) == point(0, 200)


def test_zones_and_bases_are_kept_apart(connection: Connection) -> None:
    others = [point(0, 1, zone="FR"), point(0, 2, basis="direct-average")]
    for each in (point(0, 100), *others):
        intensity.put(connection, [each], NOON)
    assert intensity.between(connection, "DE", BASIS, NOON, NOON + HOUR) == [point(0, 100)]
    assert intensity.latest(connection, "FR", BASIS, NOON) == others[0]
    assert intensity.latest(connection, "FR", "direct-average", NOON) is None
    assert intensity.last_fetch(connection, "FR", "direct-average", NOON) is None
    assert intensity.mean(connection, "FR", "direct-average", NOON, NOON + HOUR) is None


def test_the_latest_hour_has_begun_and_may_be_old(connection: Connection) -> None:
    intensity.put(connection, [point(0, 100), point(5, 200)], NOON)
    ask = [intensity.latest(connection, "DE", BASIS, NOON + HOUR * hours) for hours in (-0.01, 0, 4.99, 5, 500)]
    assert [found and found.intensity_g_per_kwh for found in ask] == [None, 100, 100, 200, 200]


def test_what_a_delivery_changed(connection: Connection) -> None:
    assert intensity.put(connection, [point(0, 100), point(1, 200)], NOON) == [NOON, NOON + HOUR]
    again = [point(0, 100), point(1, 201), point(2, 300, is_estimated=True)]
    assert intensity.put(connection, again, NOON + HOUR) == [NOON + HOUR, NOON + 2 * HOUR]
    assert intensity.put(connection, [point(2, 300)], NOON + 2 * HOUR) == [NOON + 2 * HOUR], "no estimate any more"
    assert intensity.put(connection, [point(2, 300)], NOON + 3 * HOUR) == []
    assert intensity.last_fetch(connection, "DE", BASIS, NOON) == NOON + 3 * HOUR
    assert intensity.mean(connection, "DE", BASIS, NOON, NOON + 2 * HOUR) == 150.5


def test_between_takes_the_start_and_leaves_the_end(connection: Connection) -> None:
    intensity.put(connection, [point(hour) for hour in (3, 1, 2, 0)], NOON)
    found = intensity.between(connection, "DE", BASIS, NOON + HOUR, NOON + 3 * HOUR)
    assert [each.start for each in found] == [NOON + HOUR, NOON + 2 * HOUR]


def profile(workload: str = "default", level: int = 0, **changes: Any) -> Profile:
    values: dict[str, Any] = {
        "requests": 10, "energy_j": 36.0, "energy_sd_j": 4.0, "device_s": 0.5, "device_sd_s": 0.1,
        "completion_tokens": 50.0, **changes,
    }  # fmt: skip
    return Profile(workload=workload, level=level, **values)


def test_profiles_are_replaced(connection: Connection) -> None:
    profiles.put(connection, "ours", "m", [profile(level=1), profile(level=0), profile("news")], NOON)
    newer = profile(
        level=1, requests=20, energy_j=1.0, energy_sd_j=2.0, device_s=3.0, device_sd_s=4.0, completion_tokens=5.0
    )
    profiles.put(connection, "ours", "m", [newer], NOON + HOUR)
    profiles.put(connection, "ours", "m", [], NOON)
    assert profiles.all_of(connection, "ours", "m") == [profile(), newer, profile("news")]


def test_profiles_of_other_tenants_and_models(connection: Connection) -> None:
    for tenant, model, energy_j in (("ours", "m", 1.0), ("theirs", "m", 2.0), ("ours", "another", 3.0)):
        profiles.put(connection, tenant, model, [profile(energy_j=energy_j)], NOON)
    assert profiles.all_of(connection, "ours", "m") == [profile(energy_j=1.0)]


def judge(connection: Connection, outcomes: str, *, tenant: str = "ours", **changes: Any) -> None:
    counts = {"wins": outcomes.count("w"), "ties": outcomes.count("t"), "losses": outcomes.count("l")}
    store_verdicts(connection, **counts, **{"tenant_id": tenant, "model": "m", **changes})


def tallies(connection: Connection, tenant: str, *, half_life_s: float = 3600.0) -> Mapping[tuple[str, int], Tally]:
    found = verdicts.counted(
        connection, tenant, "m", lambda _: FINGERPRINT, kind=Kind.PREFERENCE, now=NOON, half_life_s=half_life_s
    )
    return {(each.workload, each.level): each.tally for each in found}


def test_verdicts_are_counted_per_workload_and_level(connection: Connection) -> None:
    judge(connection, "wwtl")
    judge(connection, "lll", level=2)
    judge(connection, "t", workload="news")
    judge(connection, "wwwww", tenant="theirs")
    judge(connection, "wwwww", model="another")
    assert tallies(connection, "ours") == {
        ("default", 1): Tally(wins=2, ties=1, losses=1),
        ("default", 2): Tally(losses=3),
        ("news", 1): Tally(ties=1),
    }
    assert tallies(connection, "nobody") == {}


@given(
    ages_s=st.lists(st.floats(-1e5, 1e7, allow_nan=False), min_size=1, max_size=5),
    half_life_s=st.floats(1e-3, 1e10, allow_nan=False),
)
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_verdicts_fade_as_the_domain_says(connection: Connection, ages_s: list[float], half_life_s: float) -> None:
    judged = [timedelta(seconds=age_s) for age_s in ages_s]
    with connection.begin_nested() as savepoint:
        for age in judged:
            judge(connection, "wtl", created_at=NOON - age)
        found = tallies(connection, "ours", half_life_s=half_life_s)["default", 1]
        savepoint.rollback()
    expected = sum(faded(age_s=age.total_seconds(), half_life_s=half_life_s) for age in judged)
    assert (found.wins, found.ties, found.losses) == pytest.approx((expected,) * 3, rel=1e-9, abs=1e-300)


def test_traffic_is_that_of_renewed_profiles(connection: Connection) -> None:
    profiles.put(connection, "ours", "m", [profile(), profile(level=1, requests=5), profile("news")], NOON)
    profiles.put(connection, "ours", "m", [profile("code")], NOON - timedelta(seconds=1))
    profiles.put(connection, "theirs", "m", [profile()], NOON)
    profiles.put(connection, "ours", "another", [profile()], NOON)
    assert profiles.traffic(connection, "ours", "m", NOON) == {"default": 15, "news": 10}
    assert profiles.traffic(connection, "ours", "m", NOON - HOUR) == {"default": 15, "news": 10, "code": 10}


def test_a_mix_has_the_reasons_of_its_own_run(connection: Connection) -> None:
    news, code, old = (a_mix(workload=name) for name in ("news", "code", "old"))
    reasons = {"news": {"share": 0.25}, "code": {"share": 0.75}}
    mixes.add(connection, "ours", a_run(inputs={"workloads": reasons}), [news, code])
    mixes.add(connection, "ours", a_run(inputs={"workloads": {"news": {"share": 1.0}}}), [])
    mixes.add(connection, "ours", a_run(inputs={"workloads": [{"workload": "old"}]}), [old])
    found = mixes.reasons(connection, [news.id, old.id, "unknown"])
    assert found == {news.id: {"share": 0.25}}
    assert mixes.reasons(connection, []) == {}


def test_windows_are_summed_by_their_end(connection: Connection) -> None:
    window = Window(
        worker="worker-1",
        started_at=NOON - HOUR,
        ended_at=NOON,
        energy_j=100.0,
        device_s=10.0,
        idle_energy_j=20.0,
        idle_device_s=2.0,
        energy_basis="measured",
        zone="DE",
        model=MODEL,
        intensity_g_per_kwh=480.0,
        intensity_basis=BASIS,
        intensity_origin="measured",
    )
    for number, ended_at in enumerate((NOON, NOON + HOUR / 2, NOON + HOUR, NOON - timedelta(microseconds=1))):
        windows.add(connection, replace(window, worker=f"worker-{number}", ended_at=ended_at))
    found = windows.total(connection, NOON, NOON + HOUR)
    assert found == WindowTotal(energy_j=200.0, idle_energy_j=40.0, idle_device_s=4.0)
    nothing = windows.total(connection, NOON + 2 * HOUR, NOON + 3 * HOUR)
    assert nothing == WindowTotal(energy_j=0.0, idle_energy_j=0.0, idle_device_s=0.0)


def test_the_current_mix_of_a_workload_is_its_newest(connection: Connection) -> None:
    newest = store_mix(connection, workload="news", created_at=NOON + HOUR)
    store_mix(connection, workload="news", created_at=NOON)
    older_but_only = store_mix(connection, workload="code", created_at=NOON - HOUR, probabilities=(1.0, 0.0, 0.0))
    store_mix(connection, tenant="theirs", workload="news", created_at=NOON + 2 * HOUR)
    assert mixes.current(connection, "default", "WORLD", MODEL) == {"news": newest, "code": older_but_only}
    assert mixes.current(connection, "nobody", "WORLD", MODEL) == {}


def test_a_mix_comes_back_as_it_was_stored(connection: Connection) -> None:
    stored = [a_mix((1 / 3, 1 / 3, 1 / 3), workload="a", binding=True, evidence="none"), a_mix(workload="b")]
    mixes.add(connection, "default", a_run(), stored)
    assert mixes.current(connection, "default", "WORLD", MODEL) == {"a": stored[0], "b": stored[1]}


@pytest.mark.parametrize("outcome", ["solved", "last_good", "l0"])
def test_runs(connection: Connection, outcome: str) -> None:
    assert mixes.newest_run(connection, "default", "WORLD", MODEL) is None
    solved = a_run(inputs={"phi": 0.25, "zone": "Zürich"}, reason="weil „sauber“")
    later = a_run(created_at=NOON + HOUR, outcome=outcome)
    for run in (later, solved):
        mixes.add(connection, "default", run, [])
    mixes.add(connection, "theirs", a_run(created_at=NOON + 2 * HOUR), [])
    assert mixes.newest_run(connection, "default", "WORLD", MODEL) == later
    assert mixes.newest_solved(connection, "default", "WORLD", MODEL) == (later if outcome == "solved" else solved)
    assert mixes.newest_solved(connection, "nobody", "WORLD", MODEL) is None
