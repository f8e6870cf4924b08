from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from app.domain.batch import LONGEST_WINDOW_H as HORIZON_H
from app.domain.errors import IntensityUnavailable, InvalidInput
from app.domain.intensity import HOUR, Basis, Forecast, IntensityPoint
from app.grid.static import StaticProvider
from app.services import forecasts, grid, intensity
from app.services.forecasts import BUILT_IN, ENOUGH_SCORES, ExpectedHour
from app.store import forecasts as stored
from app.store import intensity as hours
from app.store.forecasts import Score
from tests.support.clock import NOON
from tests.support.grid import BASIS, ScriptedProvider, a_forecast, a_point, silent
from tests.support.services import Desk, Desks


def put(desk: Desk, *found: IntensityPoint | Forecast) -> None:
    with desk.context.database.transaction() as connection:
        for entry in found:
            if isinstance(entry, Forecast):
                stored.put(connection, entry)
            else:
                hours.put(connection, [entry], desk.clock.now())


def daily(hour: int) -> float:
    """Cleanest at midnight, the same every day."""
    return 100.0 + 10 * ((hour + 12) % 24)


def past(desk: Desk, first: int = -24 * 14, last: int = 0, leave_out: Sequence[int] = ()) -> None:
    put(desk, *(a_point(hour, daily(hour)) for hour in range(first, last + 1) if hour not in leave_out))


def expected(desk: Desk, most: int = HORIZON_H) -> Sequence[ExpectedHour]:
    with desk.context.database.transaction() as connection:
        return forecasts.expected(connection, desk.context.settings, "WORLD", desk.clock.now(), most)


def scores(desk: Desk) -> Sequence[Score]:
    with desk.context.database.transaction() as connection:
        return forecasts.scores(connection, desk.context.settings, "WORLD", desk.clock.now())


def issued(desk: Desk) -> Sequence[tuple[str, float]]:
    """Provider and hour of issue, from noon."""
    rows = desk.rows("SELECT provider, issued_at FROM forecasts ORDER BY issued_at, provider")
    return [(provider, (moment - NOON) / HOUR) for provider, moment in rows]


def test_both_forecasts_are_stored_once_an_hour(desk: Desk) -> None:
    past(desk)
    provider = ScriptedProvider(forecasts={"WORLD": a_forecast([1.0] * 48)})
    assert forecasts.refresh(desk.context, provider) == 2
    desk.clock.advance(minutes=59)
    assert forecasts.refresh(desk.context, provider) == 0
    desk.clock.advance(minutes=1)
    provider.forecasts["WORLD"] = a_forecast([2.0] * 48, start=1, issued=1)
    assert forecasts.refresh(desk.context, provider) == 2
    assert issued(desk) == [(BUILT_IN, 0), ("test", 0), (BUILT_IN, 1), ("test", 1)]
    assert provider.asked_ahead == ["WORLD"] * 2


def test_a_provider_without_a_forecast_leaves_the_built_in_one(desk: Desk) -> None:
    past(desk)
    assert forecasts.refresh(desk.context, ScriptedProvider()) == 1
    assert issued(desk) == [(BUILT_IN, 0)]


@pytest.mark.parametrize(
    "fault",
    [
        IntensityUnavailable("The source does not answer."),
        InvalidInput("The forecast is empty."),
        a_forecast([1.0], zone="FR"),
        a_forecast([1.0] * 9, basis=Basis.DIRECT_MARGINAL),
        a_forecast([1.0] * 9, start=-9),
        a_forecast([1.0] * 9, start=0.5),
        a_forecast([1.0] * 9, zone="DE", issued=0.1),
    ],
    ids=["away", "nonsense", "another zone", "another basis", "the past", "half hours", "issued in the future"],
)
def test_a_forecast_that_cannot_be_used_stops_nobody(
    desks: Desks, fault: Exception | Forecast, caplog: pytest.LogCaptureFixture
) -> None:
    desk = desks.desk(zone="DE", zones=("DE", "GB"))
    for zone in ("DE", "GB"):
        put(desk, *(a_point(hour, 100.0, zone=zone) for hour in range(-30, 1)))
    provider = ScriptedProvider(forecasts={"DE": fault, "GB": a_forecast([1.0], zone="GB")})
    assert forecasts.refresh(desk.context, provider) == 3
    assert desk.rows("SELECT zone, provider FROM forecasts ORDER BY 1, 2") == [
        ("DE", BUILT_IN), ("GB", BUILT_IN), ("GB", "test"),
    ]  # fmt: skip
    assert "forecast of zone DE: " in caplog.text


def test_a_source_that_failed_is_left_alone_for_five_minutes(desk: Desk) -> None:
    """Also where there is no past, so that no forecast says when it was asked last."""
    provider = ScriptedProvider(forecasts={"WORLD": IntensityUnavailable("The source does not answer.")})
    for minutes in (0, 1, 3.9, 0.1):
        desk.clock.advance(minutes=minutes)
        forecasts.refresh(desk.context, provider)
    assert len(provider.asked_ahead) == 2


def test_one_issued_later_than_now_gives_way(desk: Desk) -> None:
    put(desk, a_forecast([1.0] * 9, issued=24 * 365), a_forecast([9.0] * 9, provider=BUILT_IN))
    assert {hour.provider for hour in expected(desk)} == {BUILT_IN}


def test_the_error_of_a_coming_hour_is_that_of_the_lead_since_the_issue(desk: Desk) -> None:
    """Forecasts were exact 1 hour ahead, and 50 % too low 6 hours ahead; the last one is 5 hours old."""
    put(desk, *(a_forecast([200.0] * 6 + [100.0] * 9, start=hour, issued=hour) for hour in range(-40, -4)))
    put(desk, *(a_point(hour, 200.0) for hour in range(-39, 1)))
    (zone,) = grid.overview(desk.context)
    assert [score["lead_h"] for score in zone["scores"] if score["provider"] == "test"][:2] == [1, 6]
    assert zone["forecast"][0]["error_90"] == pytest.approx(1.0)


def test_what_the_built_in_one_would_have_said_is_scored_as_what_it_said() -> None:
    """One hour of each day has 0, and one of these is missing; the day repeats itself."""
    series = np.array([200.0 if hour % 24 else 0.0 for hour in range(24 * 21)])
    series[-48] = np.nan
    found = {score.lead_h: score for score in forecasts.tested(series)}
    assert list(found) == list(forecasts.LEADS_H)
    assert (found[1].provider, found[1].forecasts, found[1].zero_hours) == (forecasts.TESTED, 55, 13)
    assert found[1].mape == pytest.approx(0, abs=0.01)
    assert found[96].forecasts < found[24].forecasts
    assert forecasts.tested(np.full(forecasts.FEWEST_PAST_H, 200.0)) == []
    (still, *_) = forecasts.tested(np.zeros(24 * 21))
    assert (still.forecasts, still.zero_hours, still.mape, still.error_90) == (56, 56, None, None)


def test_without_a_past_there_is_no_built_in_forecast(desk: Desk) -> None:
    assert forecasts.refresh(desk.context, silent()) == 0
    assert expected(desk) == []


def test_the_built_in_forecast_begins_after_the_last_known_hour(desk: Desk) -> None:
    past(desk, leave_out=[-5])
    forecasts.refresh(desk.context, ScriptedProvider())
    found = expected(desk)
    assert [hour.start for hour in found] == [NOON + number * HOUR for number in range(HORIZON_H)]
    assert (found[0].provider, found[0].issued_at, found[0].intensity_g_per_kwh) == ("test", None, daily(0))
    assert {(hour.provider, hour.issued_at) for hour in found[1:]} == {(BUILT_IN, NOON)}
    likely = [hour.intensity_g_per_kwh for hour in found[1:]]
    assert np.abs(np.array(likely) - [daily(hour) for hour in range(1, HORIZON_H)]).max() < 15


def test_an_unknown_present_hour_is_forecast_too(desk: Desk) -> None:
    past(desk, last=-2)
    desk.clock.advance(minutes=20)
    forecasts.refresh(desk.context, ScriptedProvider())
    found = expected(desk)
    assert (len(found), found[0].start, found[0].provider) == (HORIZON_H, NOON, BUILT_IN)
    assert found[0].intensity_g_per_kwh == pytest.approx(daily(0), abs=15)


def test_a_single_known_hour_is_a_past(desk: Desk) -> None:
    put(desk, a_point(-30, 240.0))
    forecasts.refresh(desk.context, ScriptedProvider())
    assert {hour.intensity_g_per_kwh for hour in expected(desk)} == {240.0}


def test_the_provider_s_own_goes_first_and_the_built_in_one_beyond_it(desk: Desk) -> None:
    own = a_forecast([1.0, 2.0, 3.0], issued=-2)
    put(desk, own, a_forecast([9.0] * 6, provider=BUILT_IN), a_forecast([8.0] * 6, issued=-3))
    found = expected(desk)
    assert [(hour.intensity_g_per_kwh, hour.provider) for hour in found] == [
        (1.0, "test"), (2.0, "test"), (3.0, "test"), (9.0, BUILT_IN), (9.0, BUILT_IN), (9.0, BUILT_IN),
    ]  # fmt: skip
    assert [hour.issued_at for hour in found[2:4]] == [own.issued_at, NOON]
    assert [hour.start for hour in expected(desk, 4)] == [NOON + number * HOUR for number in range(4)]
    put(desk, a_point(0, 77.0))
    assert [hour.intensity_g_per_kwh for hour in expected(desk, 3)] == [77.0, 2.0, 3.0]


def test_an_own_forecast_of_yesterday_gives_way(desk: Desk) -> None:
    put(desk, a_forecast([1.0] * 72, issued=-24), a_forecast([9.0] * 72, provider=BUILT_IN))
    assert expected(desk)[0].provider == "test"
    desk.clock.advance(seconds=1)
    assert {hour.provider for hour in expected(desk)} == {BUILT_IN}


def test_a_gap_ends_the_series(desk: Desk) -> None:
    put(desk, a_forecast([1.0, 2.0]), a_forecast([9.0] * 9, start=3, provider=BUILT_IN))
    assert len(expected(desk)) == 2


def test_forecasts_of_other_zones_and_bases_do_not_count(desk: Desk) -> None:
    put(desk, a_forecast([1.0], zone="DE"), a_forecast([1.0], basis=Basis.DIRECT_AVERAGE))
    assert expected(desk) == []


def test_a_declared_figure_is_its_own_forecast(desk: Desk) -> None:
    provider = StaticProvider(480.0, basis=BASIS)
    intensity.refresh(desk.context, provider)
    assert forecasts.refresh(desk.context, provider) == 2
    assert {hour.intensity_g_per_kwh for hour in expected(desk)} == {480.0}


def test_forecasts_are_forgotten_after_five_weeks(desk: Desk) -> None:
    past(desk)
    put(desk, a_forecast([1.0], issued=-35 * 24), a_forecast([1.0], issued=-35 * 24 - 0.1))
    forecasts.refresh(desk.context, ScriptedProvider())
    assert issued(desk) == [("test", -35 * 24), (BUILT_IN, 0)]


def test_forecasts_are_scored_against_what_came(desk: Desk) -> None:
    """Issued every hour, 10 % too high at 1 h, 25 % too low at 6 h; one hour of 0, one that never came."""
    ahead = [1.0] * 7
    ahead[1], ahead[6] = 1.1, 0.75
    put(desk, *(a_forecast([200.0 * part for part in ahead], start=hour, issued=hour + 0.5) for hour in range(-30, 1)))
    put(desk, *(a_point(hour, 0.0 if hour == -10 else 200.0) for hour in range(-29, 1) if hour != -9))
    one, six = scores(desk)
    assert (one.provider, one.lead_h, one.forecasts, one.zero_hours) == ("test", 1, 29, 1)
    assert one.mape == pytest.approx(0.1)
    assert one.error_90 == pytest.approx(20 / 220)
    assert (six.lead_h, six.forecasts, six.zero_hours) == (6, 24, 1)
    assert six.mape == pytest.approx(0.25)
    assert six.error_90 == pytest.approx(50 / 150)


def test_providers_are_scored_apart(desk: Desk) -> None:
    put(desk, a_forecast([100.0] * 100), a_forecast([300.0] * 100, provider=BUILT_IN))
    put(desk, *(a_point(hour, 200.0) for hour in range(1, 13)))
    desk.clock.advance(hours=12)
    assert [(score.provider, score.lead_h, score.mape) for score in scores(desk)] == [
        (name, lead, 0.5) for name in (BUILT_IN, "test") for lead in (1, 6, 12)
    ]


def test_an_hour_of_which_only_0_was_forecast_has_no_relative_error(desk: Desk) -> None:
    put(desk, a_forecast([0.0] * 9), a_point(1, 0.0))
    (score,) = scores(desk)
    assert (score.forecasts, score.zero_hours, score.mape, score.error_90) == (1, 1, None, None)


def score(lead_h: int, error_90: float, number: int = ENOUGH_SCORES, provider: str = "test") -> Score:
    return Score(provider=provider, lead_h=lead_h, forecasts=number, zero_hours=0, mape=0.1, error_90=error_90)


def test_the_error_of_a_lead_time_is_that_of_the_next_longer_one() -> None:
    known = [score(48, 0.3), score(1, 0.1), score(6, 0.9, provider=BUILT_IN), score(12, 0.2), score(24, 9.0, 23)]
    found = [forecasts.error_90(known, "test", lead_h) for lead_h in (0.5, 1, 1.01, 12, 13, 48, 500)]
    assert found == [0.1, 0.1, 0.2, 0.2, 0.3, 0.3, 0.3]
    assert forecasts.error_90(known, "another", 1) is None
    assert forecasts.error_90([score(1, 0.1, ENOUGH_SCORES - 1)], "test", 1) is None


def test_a_clock_that_was_set_back_stores_no_forecast_twice_an_hour(desk: Desk) -> None:
    provider = ScriptedProvider()
    grid.refresh(desk.context, provider)
    desk.clock.moment = NOON - 24 * HOUR
    stored = []
    for _ in range(3):
        stored.append(forecasts.refresh(desk.context, provider))
        desk.clock.advance(minutes=1)
    assert stored == [1, 0, 0]
