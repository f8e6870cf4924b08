"""What the planner goes by: hours, and what a request takes in each of them."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from app.domain.intensity import HOUR
from app.services import outlook
from app.services.outlook import HORIZON_H, Kind, Outlook
from app.store import forecasts, intensity, mixes
from app.store.database import TENANT
from tests.support.clock import NOON
from tests.support.engine import EchoEngine
from tests.support.factories import MODEL, a_mix, a_run, line
from tests.support.grid import a_forecast, a_point
from tests.support.services import Desk, Desks, jsonl

DEFAULT = Kind(tenant=TENANT, workload="default", pinned_level=None)
J_PER_KWH = 3.6e6


def pinned(level: int) -> Kind:
    return Kind(tenant=TENANT, workload="default", pinned_level=level)


def look(desk: Desk, *kinds: Kind) -> Outlook:
    with desk.context.database.transaction() as connection:
        found = outlook.look_ahead(
            connection, desk.context.settings, desk.context.hardware, MODEL, kinds or (DEFAULT,), desk.clock.now()
        )
    assert found is not None
    return found


def test_without_any_measured_request_there_is_no_outlook(desk: Desk) -> None:
    desk.expect([100.0] * 5)
    with desk.context.database.transaction() as connection:
        context = desk.context
        assert outlook.look_ahead(connection, context.settings, context.hardware, MODEL, [DEFAULT], NOON) is None


def test_without_profiles_the_newest_answers_say_what_a_request_takes(desk: Desk, engine: EchoEngine) -> None:
    """Where all requests are pinned there never is a profile; elsewhere there is none before the first period ends."""
    desk.validated(jsonl(line(f"r{number}") for number in range(4)), metadata={"sprout_level": "L0"})
    desk.work(desk.worker(engine))
    (zone,) = look(desk).zones.values()
    energy_j, device_s = desk.rows("SELECT avg(energy_j), avg(device_s) FROM results")[0]
    assert zone.uses[DEFAULT].energy_j[0] == pytest.approx(energy_j)
    assert zone.uses[DEFAULT].device_s[0] == pytest.approx(max(device_s, outlook.SHORTEST_S))


def test_another_model_s_requests_say_nothing(desks: Desks) -> None:
    desks.desk().measure()
    other = desks.desk(model_name="another-model").context
    with other.database.transaction() as connection:
        assert (
            outlook.look_ahead(connection, other.settings, other.hardware, other.settings.home_model, [DEFAULT], NOON)
            is None
        )


def test_hours_begin_now_and_go_on_in_full(desk: Desk) -> None:
    desk.measure()
    desk.clock.advance(minutes=45)
    found = look(desk)
    assert found.starts[:3] == [NOON + timedelta(minutes=45), NOON + HOUR, NOON + 2 * HOUR]
    assert found.starts_h[:3].tolist() == [0.0, 0.25, 1.25]
    assert (len(found.starts), found.end(0), found.end(1)) == (HORIZON_H, NOON + HOUR, NOON + 2 * HOUR)


def test_the_present_figure_then_the_forecast_then_their_mean(desk: Desk) -> None:
    desk.measure()
    desk.expect([100.0, 200.0, 300.0])
    (zone,) = look(desk).zones.values()
    assert zone.intensity_g_per_kwh[:4].tolist() == [100.0, 200.0, 300.0, 200.0]
    assert set(zone.intensity_g_per_kwh[3:]) == {200.0}
    assert zone.error_90[0] == 0.0, "what is known does not err"
    assert np.isnan(zone.error_90[1:]).all()


def test_without_any_figure_the_declared_one_holds(desks: Desks) -> None:
    desk = desks.desk(static_intensity=123.0)
    desk.measure()
    (zone,) = look(desk).zones.values()
    assert set(zone.intensity_g_per_kwh) == {123.0}
    assert np.isnan(zone.error_90).all()


def test_without_a_forecast_the_last_good_figure_holds(desk: Desk) -> None:
    desk.measure()
    desk.expect([100.0])
    desk.clock.advance(hours=2)
    (zone,) = look(desk).zones.values()
    assert set(zone.intensity_g_per_kwh) == {100.0}


def test_the_likely_error_grows_with_the_lead(desk: Desk) -> None:
    desk.measure()
    desk.expect([300.0] * 169)
    with desk.context.database.transaction() as connection:
        intensity.put(connection, [a_point(hour, 300.0) for hour in range(-720, 0)], NOON)
        for issued in range(-720, -170, 2):
            grams = [300.0 * (1 + lead / 200) for lead in range(169)]
            forecasts.put(connection, a_forecast(grams, start=issued, issued=issued))
    (zone,) = look(desk).zones.values()
    errors = zone.error_90
    assert (np.diff(errors) >= 0).all()
    assert errors[1] == pytest.approx(1 - 1 / 1.005)
    assert errors[24] == pytest.approx(1 - 1 / 1.12)
    assert errors[150] == errors[96] == pytest.approx(1 - 1 / 1.48)


def test_what_a_request_takes_is_what_was_measured(desk: Desk) -> None:
    desk.measure(energy_j=720.0, device_s=2.0)
    use = look(desk).zones["WORLD"].uses[DEFAULT]
    assert (set(use.energy_j), set(use.device_s), use.cleanest_s) == ({720.0}, {2.0}, 2.0)


def test_an_unmeasured_workload_takes_what_the_typical_request_takes(desk: Desk) -> None:
    desk.measure(energy_j=100.0, device_s=1.0, requests=30)
    desk.measure(energy_j=500.0, device_s=5.0, requests=10, workload="mail")
    new = Kind(tenant=TENANT, workload="never-seen", pinned_level=None)
    uses = look(desk, new, DEFAULT).zones["WORLD"].uses
    assert (set(uses[new].energy_j), set(uses[new].device_s)) == ({200.0}, {2.0})
    assert set(uses[DEFAULT].energy_j) == {100.0}


def test_another_tenant_s_requests_are_typical_too(desk: Desk) -> None:
    """Nothing is told of them but how long an answer takes on this machine."""
    desk.measure(energy_j=100.0, device_s=1.0)
    new = Kind(tenant="somebody", workload="default", pinned_level=None)
    assert set(look(desk, new).zones["WORLD"].uses[new].device_s) == {1.0}


def test_pinned_levels_take_what_they_take(desk: Desk) -> None:
    for level, share in enumerate((1.0, 0.5, 0.25)):
        desk.measure(level=level, energy_j=800.0 * share, device_s=4.0 * share)
    uses = look(desk, *(pinned(level) for level in range(4))).zones["WORLD"].uses
    assert [set(uses[pinned(level)].device_s) for level in range(4)] == [{4.0}, {2.0}, {1.0}, {1.0}]


def test_a_pinned_level_that_was_never_measured_is_taken_for_l0(desk: Desk) -> None:
    desk.measure(energy_j=800.0, device_s=4.0)
    assert set(look(desk, pinned(2)).zones["WORLD"].uses[pinned(2)].device_s) == {4.0}


@pytest.fixture
def brief(desks: Desks) -> Desk:
    """Shorter answers are preferred in dirty hours: a declared prior stands in for verdicts."""
    desk = desks.desk(prior="paper")
    for level, share in enumerate((1.0, 0.6, 0.3)):
        desk.measure(level=level, energy_j=800.0 * share, device_s=4.0 * share)
    with desk.context.database.transaction() as connection:
        intensity.put(connection, [a_point(hour, 50.0 if hour % 24 < 12 else 500.0) for hour in range(-48, 0)], NOON)
    return desk


def test_dirty_hours_are_shorter_and_the_cleanest_is_the_longest(brief: Desk) -> None:
    brief.expect([500.0, 300.0, 200.0])
    use = look(brief).zones["WORLD"].uses[DEFAULT]
    assert use.device_s[0] < use.device_s[1] < use.device_s[2]
    assert use.energy_j[0] < use.energy_j[2]
    assert use.cleanest_s >= use.device_s.max()
    assert use.cleanest_s > use.device_s[2], "an hour of the past was cleaner than all that are forecast"


def test_hours_are_as_long_as_the_policy_would_make_them(brief: Desk) -> None:
    """At the least and the greatest intensity, which are asked for themselves."""
    brief.expect([500.0, 50.0])
    use = look(brief).zones["WORLD"].uses[DEFAULT]
    assert use.device_s[1] == pytest.approx(use.cleanest_s)


def test_strata_are_known_with_their_floor(brief: Desk) -> None:
    with brief.context.database.transaction() as connection:
        mixes.add(connection, TENANT, a_run(), [a_mix(workload=f"mail~{number}") for number in (1, 2)])
    brief.expect([500.0, 50.0])
    kinds = [Kind(tenant=TENANT, workload=f"mail~{number}", pinned_level=None) for number in (1, 2, 3)]
    uses = look(brief, *kinds).zones["WORLD"].uses
    assert set(uses) == set(kinds)


def test_stale_intensity_means_the_longest_answers(brief: Desk) -> None:
    """As in service, where nothing recent is known."""
    brief.clock.advance(hours=20)
    use = look(brief).zones["WORLD"].uses[DEFAULT]
    assert set(use.device_s) == {4.0}


def test_a_mean_request_weighs_each_kind_by_its_number(desk: Desk) -> None:
    desk.measure(energy_j=100.0, device_s=1.0)
    desk.measure(energy_j=500.0, device_s=5.0, workload="mail")
    mail = Kind(tenant=TENANT, workload="mail", pinned_level=None)
    use = look(desk, DEFAULT, mail).mean_use("WORLD", {DEFAULT: 1, mail: 3})
    assert (use.energy_j[0], use.device_s[0], use.cleanest_s) == (400.0, 4.0, 4.0)


def test_grams_are_the_ledger_s_and_costs_those_above_an_idle_machine(desks: Desks) -> None:
    desk = desks.desk(pue=1.5)
    desk.measure(energy_j=J_PER_KWH, device_s=100.0)
    desk.see(idle_energy_j=100.0, idle_device_s=10.0)
    desk.expect([200.0, 300.0])
    found = look(desk)
    use = found.mean_use("WORLD", {DEFAULT: 1})
    embodied_g = 100 * desk.context.hardware.embodied_g_per_device_s
    assert found.footprint_g("WORLD", use)[:2].tolist() == pytest.approx([300 + embodied_g, 450 + embodied_g])
    above = 1 - 10 * 100 / J_PER_KWH
    assert found.cost_g("WORLD", use)[:2].tolist() == pytest.approx([300 * above, 450 * above])


def test_a_request_below_an_idle_machine_costs_nothing_more(desk: Desk) -> None:
    desk.measure(energy_j=10.0, device_s=100.0)
    desk.see(idle_energy_j=1000.0, idle_device_s=10.0)
    found = look(desk)
    assert set(found.cost_g("WORLD", found.mean_use("WORLD", {DEFAULT: 1}))) == {0.0}


def test_moving_data_costs_both_ways_at_the_mean_of_both_zones(desks: Desks) -> None:
    desk = desks.desk(zone="A", zones=("A", "B"))
    desk.measure()
    desk.see(zone="A", worker="a")
    desk.see(zone="B", worker="b")
    desk.expect([100.0, 200.0], zone="A")
    desk.expect([300.0, 200.0], zone="B")
    found = look(desk)
    assert found.transfer_g("B", "A", 0.06, 5.0)[:2].tolist() == pytest.approx([2 * 5 * 0.06 * 200] * 2)
    assert set(found.transfer_g("A", "A", 0.06, 5.0)) == {0.0}
