from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest

from app.domain.errors import IntensityUnavailable, InvalidInput
from app.domain.intensity import HOUR, Basis, Forecast, IntensityPoint, Origin
from app.grid.static import StaticProvider
from app.ports import IntensityProvider
from app.services import grid, intensity
from app.services.context import Context
from app.store import forecasts as stored_forecasts
from app.store import intensity as stored
from tests.support.clock import NOON
from tests.support.grid import BASIS, ScriptedProvider, a_forecast, a_point
from tests.support.services import Desk, Desks

MONTH = 721
"""Hours of the past 30 days and the present one."""


def put(desk: Desk, *points: IntensityPoint) -> None:
    with desk.context.database.transaction() as connection:
        for point in points:
            stored.put(connection, [point], desk.clock.now())


def foresee(desk: Desk, *found: Forecast) -> None:
    with desk.context.database.transaction() as connection:
        for forecast in found:
            stored_forecasts.put(connection, forecast)


def current(desk: Desk, zone: str = "WORLD") -> intensity.Figure:
    with desk.context.database.transaction() as connection:
        return intensity.current(connection, desk.context.settings, zone, desk.clock.now())


@pytest.mark.parametrize(
    ("points", "forecast", "figure"),
    [
        ([a_point(0, 300.0)], True, (300.0, Origin.MEASURED, "test", 0)),
        ([a_point(0, 300.0, is_estimated=True)], True, (300.0, Origin.ESTIMATED, "test", 0)),
        ([a_point(0, 300.0, provider="static")], True, (300.0, Origin.STATIC, "static", 0)),
        ([a_point(-3, 200.0), a_point(1, 900.0)], True, (200.0, Origin.LAST_GOOD, "test", -3)),
        ([a_point(-4, 200.0)], True, (50.0, Origin.FORECAST, "test", 0)),
        ([a_point(-4, 200.0), a_point(-700, 100.0), a_point(-721, 9.0)], False, (150.0, Origin.ZONE_MEAN, "", 0)),
        ([], True, (50.0, Origin.FORECAST, "test", 0)),
        ([], False, (480.0, Origin.STATIC, "static", 0)),
        ([a_point(0, 9.0, basis=Basis.DIRECT_AVERAGE)], False, (480.0, Origin.STATIC, "static", 0)),
        ([a_point(0, 9.0, zone="DE")], False, (480.0, Origin.STATIC, "static", 0)),
    ],
)  # fmt: skip
def test_the_best_figure_that_there_is(
    desk: Desk, points: Sequence[IntensityPoint], forecast: bool, figure: tuple[float, Origin, str, int]
) -> None:
    put(desk, *points)
    if forecast:
        foresee(desk, a_forecast([40.0, 50.0], start=-1, issued=-2))
    desk.clock.advance(minutes=30)
    found = current(desk)
    assert (found.intensity_g_per_kwh, found.origin, found.provider.removeprefix("stored hours")) == figure[:3]
    assert (found.zone, found.basis, found.start) == ("WORLD", BASIS, NOON + figure[3] * HOUR)


def test_an_old_forecast_says_nothing(desk: Desk) -> None:
    foresee(desk, a_forecast([50.0] * 400, start=-200, issued=-24 * 7))
    assert current(desk).origin is Origin.FORECAST
    desk.clock.advance(seconds=1)
    assert current(desk).origin is Origin.STATIC


def starts(provider: ScriptedProvider) -> Sequence[int]:
    """The first hour of each fetch, from noon."""
    return [(start - NOON) // HOUR for _, start, _ in provider.asked]


def test_only_missing_hours_of_a_declared_figure_are_fetched(desk: Desk) -> None:
    provider = ScriptedProvider(name="static")
    assert intensity.refresh(desk.context, provider) == MONTH
    assert intensity.refresh(desk.context, provider) == 0
    desk.clock.advance(minutes=150)
    assert intensity.refresh(desk.context, provider) == 2
    assert provider.asked[1:] == [("WORLD", NOON + HOUR, NOON + 3 * HOUR)]
    desk.clock.advance(days=60)
    assert intensity.refresh(desk.context, provider) == MONTH


def test_recent_hours_are_fetched_again_once_an_hour(desk: Desk) -> None:
    provider = ScriptedProvider()
    assert intensity.refresh(desk.context, provider) == MONTH
    desk.clock.advance(minutes=59)
    assert intensity.refresh(desk.context, provider) == 0
    assert starts(provider) == [-720]
    desk.clock.advance(minutes=1)
    provider.figures[NOON - 5 * HOUR] = 111.0
    assert intensity.refresh(desk.context, provider) == 2, "the new hour, and the one that was revised"
    assert starts(provider) == [-720, 1 - 48]
    assert intensity.refresh(desk.context, provider) == 0
    assert len(provider.asked) == 2


@pytest.mark.parametrize("kind", ["estimated", "unknown"])
def test_a_present_hour_that_is_not_final_is_asked_for_again(desk: Desk, kind: str) -> None:
    provider = ScriptedProvider()
    (provider.estimated if kind == "estimated" else provider.missing).add(NOON)
    intensity.refresh(desk.context, provider)
    desk.clock.advance(minutes=4)
    intensity.refresh(desk.context, provider)
    assert len(provider.asked) == 1, "not every time"
    desk.clock.advance(minutes=1)
    provider.estimated.clear()
    provider.missing.clear()
    assert intensity.refresh(desk.context, provider) == 1
    assert current(desk).origin is Origin.MEASURED
    desk.clock.advance(minutes=30)
    intensity.refresh(desk.context, provider)
    assert len(provider.asked) == 2


def test_old_gaps_are_tried_for_once_a_day(desk: Desk) -> None:
    provider = ScriptedProvider()
    provider.missing.add(NOON - 100 * HOUR)
    intensity.refresh(desk.context, provider)
    for _ in range(12):
        desk.clock.advance(hours=1)
        intensity.refresh(desk.context, provider)
        intensity.refresh(desk.context, provider)
    assert starts(provider)[:3] == [-720, 1 - 48, 2 - 48]
    assert starts(provider)[-1] == -100, "at midnight"
    assert len(provider.asked) == 13


def test_after_a_long_silence_all_of_it_is_fetched(desk: Desk) -> None:
    provider = ScriptedProvider()
    intensity.refresh(desk.context, provider)
    desk.clock.advance(days=4)
    assert intensity.refresh(desk.context, provider) == 96
    assert starts(provider)[-1] == 1


FAULTS: Mapping[str, Exception | IntensityPoint] = {
    "away": IntensityUnavailable("The source does not answer."),
    "a unit that cannot be": InvalidInput("Carbon intensity of 99999."),
    "another zone": a_point(0, 1.0, zone="FR"),
    "another basis": a_point(0, 1.0, basis=Basis.DIRECT_MARGINAL),
    "the future": a_point(1, 1.0),
    "not an hour": a_point(0.5, 1.0),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_zone_that_fails_does_not_stop_the_others(
    desks: Desks, fault: Exception | IntensityPoint, caplog: pytest.LogCaptureFixture
) -> None:
    desk = desks.desk(zone="DE", zones=("DE", "FR", "GB"))
    desk.clock.advance(minutes=45)
    provider = ScriptedProvider(faults={"DE": fault})
    assert intensity.refresh(desk.context, provider) == 2 * MONTH
    assert desk.rows("SELECT DISTINCT zone FROM intensity ORDER BY 1") == ["FR", "GB"]
    assert "carbon intensity of zone DE: " in caplog.text
    provider.faults.clear()
    desk.clock.advance(minutes=5)
    assert intensity.refresh(desk.context, provider) == MONTH


def test_a_source_that_failed_is_left_alone_for_five_minutes(desks: Desks) -> None:
    desk = desks.desk(zone="DE", zones=("DE", "FR"))
    provider = ScriptedProvider(faults={"DE": IntensityUnavailable("The source does not answer.")})
    for minutes in (0, 1, 3.9, 0.1, 1):
        desk.clock.advance(minutes=minutes)
        intensity.refresh(desk.context, provider)
    assert [zone for zone, _, _ in provider.asked] == ["DE", "FR", "DE"]


class HeldProvider(ScriptedProvider):
    """Answers when it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = threading.Event()
        self.let_go = threading.Event()

    def fetch(self, zone: str, start: datetime, end: datetime) -> Sequence[IntensityPoint]:
        self.reached.set()
        assert self.let_go.wait(60)
        return super().fetch(zone, start, end)


@pytest.mark.parametrize("held_by", [intensity.refresh, grid.refresh], ids=["mixes", "refresh"])
def test_a_slow_source_holds_up_one_thread(desk: Desk, held_by: Callable[[Context, IntensityProvider], object]) -> None:
    slow, other = HeldProvider(), ScriptedProvider()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(held_by, desk.context, slow)
        assert slow.reached.wait(60)
        try:
            assert intensity.refresh(desk.context, other) == 0
            grid.refresh(desk.context, other)
            assert (other.asked, other.asked_ahead) == ([], [])
        finally:
            slow.let_go.set()
        first.result()
    assert len(slow.asked) == 1
    desk.clock.advance(hours=1)
    grid.refresh(desk.context, other)
    assert (len(other.asked), other.asked_ahead) == (1, ["WORLD"]), "the turn was given back"


def test_a_turn_that_fails_is_given_back(desk: Desk) -> None:
    with pytest.raises(ZeroDivisionError):
        intensity.refresh(desk.context, ScriptedProvider(faults={"WORLD": ZeroDivisionError()}))
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(intensity.refresh, desk.context, ScriptedProvider()).result() == MONTH


def test_a_source_that_knows_nothing(desk: Desk) -> None:
    provider = ScriptedProvider(knows=False)
    assert intensity.refresh(desk.context, provider) == 0
    assert current(desk).origin is Origin.STATIC


def test_a_declared_figure_never_replaces_one_that_was_had(desk: Desk) -> None:
    put(desk, a_point(0, 77.0), a_point(-3, 78.0))
    source = StaticProvider(300.0, basis=BASIS)
    desk.clock.advance(hours=1)
    assert intensity.refresh(desk.context, source) == 47, "of the past two days and the present hour"
    now = desk.clock.now()
    assert intensity.backfill(desk.context.database, desk.context.settings, source, "WORLD", 40, now) == 38 * 24
    found = desk.rows("SELECT intensity_g_per_kwh FROM intensity WHERE provider = 'test' ORDER BY start_at")
    assert found == [78.0, 77.0]
    assert current(desk).intensity_g_per_kwh == 300.0


def test_a_figure_that_was_had_replaces_a_declared_one(desk: Desk) -> None:
    intensity.refresh(desk.context, StaticProvider(300.0, basis=BASIS))
    source = ScriptedProvider(299.0)
    assert intensity.refresh(desk.context, source) == MONTH
    assert current(desk).origin is Origin.MEASURED
    desk.clock.advance(minutes=30)
    assert intensity.refresh(desk.context, source) == 0
    assert len(source.asked) == 1


def test_a_backfill_takes_the_newer_figures(desk: Desk) -> None:
    context, provider = desk.context, ScriptedProvider()
    assert intensity.backfill(context.database, context.settings, provider, "WORLD", 60, NOON) == 60 * 24 + 1
    provider.figures[NOON - timedelta(days=50)] = 5.0
    assert intensity.backfill(context.database, context.settings, provider, "WORLD", 60, NOON) == 1
    provider.faults["WORLD"] = IntensityUnavailable("away")
    with pytest.raises(IntensityUnavailable):
        intensity.backfill(context.database, context.settings, provider, "WORLD", 1, NOON)
