"""What every source of carbon intensity promises."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from itertools import pairwise

import pytest

from app.domain.errors import IntensityUnavailable, InvalidInput
from app.domain.intensity import HOUR, Basis, IntensityPoint, IntensityTrace
from app.grid.electricity_maps import ElectricityMapsProvider
from app.grid.static import StaticProvider
from app.grid.trace import TraceProvider
from app.grid.uk import UkProvider
from app.grid.watttime import WattTimeProvider
from app.ports import IntensityProvider
from tests.support.clock import NOON
from tests.support.grid import ScriptedProvider
from tests.support.grid_server import ElectricityMaps, GridClock, GridServer, Source, Uk, WattTime

BASIS = Basis.LIFECYCLE_AVERAGE
GAP = 30
KNOWN_H = 72
FORECAST_H = 40
PRESENT = NOON + KNOWN_H * HOUR - timedelta(minutes=20)
"""In the last hour of which something is known."""


@dataclass(frozen=True)
class Case:
    provider: IntensityProvider
    zone: str = "DE"
    basis: Basis = BASIS
    knows_every_zone: bool = False
    knows_every_hour: bool = False
    forecasts: bool = True


def grid(zone: str) -> dict[str, dict[datetime, float]]:
    """Three days from noon on, with one hour missing, and what comes after."""
    return {zone: {NOON + hour * HOUR: 100.0 + hour for hour in range(KNOWN_H + FORECAST_H) if hour != GAP}}


def trace() -> IntensityTrace:
    """The three days."""
    return IntensityTrace(
        IntensityPoint(zone="DE", start=start, intensity_g_per_kwh=grams, basis=BASIS, provider="trace")
        for start, grams in grid("DE")["DE"].items()
        if start < NOON + KNOWN_H * HOUR
    )


@contextmanager
def served(name: str) -> Iterator[Case]:
    """A provider of a source on the network, which is a server on loopback."""
    clock = GridClock(PRESENT)
    zone = {"electricity_maps": "DE", "watttime": "CAISO_NORTH", "uk": "GB", "uk, regional": "GB-RG10"}[name]
    sources: dict[str, Source] = {
        "electricity_maps": ElectricityMaps(grid(zone), clock),
        "watttime": WattTime(grid(zone), clock),
    }
    with GridServer(sources.get(name) or Uk(grid(zone), clock)) as server:
        if name == "electricity_maps":
            yield Case(ElectricityMapsProvider("letmein", basis=BASIS, url=server.url, clock=clock), zone)
        elif name == "watttime":
            watttime = WattTimeProvider("ann", "hunter2", url=server.url, clock=clock)
            yield Case(watttime, zone, Basis.DIRECT_MARGINAL)
        else:
            yield Case(UkProvider(url=server.url, clock=clock), zone, Basis.DIRECT_AVERAGE)


@pytest.fixture(
    params=["static", "trace", "trace, repeated", "electricity_maps", "watttime", "uk", "uk, regional", "scripted"],
)
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    if request.param == "static":
        yield Case(StaticProvider(480.0, basis=BASIS), knows_every_zone=True, knows_every_hour=True)
    elif request.param == "scripted":
        scripted = ScriptedProvider(forecast_hours=FORECAST_H + 1)
        scripted.missing.add(NOON + GAP * HOUR)
        yield Case(scripted, knows_every_zone=True)
    elif request.param.startswith("trace"):
        yield Case(TraceProvider(trace(), repeats=request.param == "trace, repeated"), forecasts=False)
    else:
        with served(request.param) as found:
            yield found


def fetch(case: Case, start: float, end: float) -> Sequence[IntensityPoint]:
    """Hours counted from noon."""
    return case.provider.fetch(case.zone, NOON + start * HOUR, NOON + end * HOUR)


def test_it_has_a_name_that_its_points_carry(case: Case) -> None:
    assert case.provider.name
    assert {point.provider for point in fetch(case, 0, 5)} == {case.provider.name}


def test_points_are_of_the_zone_and_of_the_basis_of_the_provider(case: Case) -> None:
    assert case.provider.basis is case.basis
    assert {(point.zone, point.basis) for point in fetch(case, 0, KNOWN_H)} == {(case.zone, case.basis)}


def test_known_hours_come_once_each_and_ascending(case: Case) -> None:
    starts = [point.start for point in fetch(case, 0, 24)]
    assert starts == [NOON + hour * HOUR for hour in range(24)]


def test_the_present_hour_is_known(case: Case) -> None:
    assert fetch(case, KNOWN_H - 1, KNOWN_H)[0].start == NOON + (KNOWN_H - 1) * HOUR


def test_an_unknown_hour_is_absent(case: Case) -> None:
    starts = [point.start for point in fetch(case, GAP - 1, GAP + 2)]
    assert (NOON + GAP * HOUR in starts) == case.knows_every_hour
    assert {NOON + (GAP - 1) * HOUR, NOON + (GAP + 1) * HOUR} <= set(starts)


@pytest.mark.parametrize(("start", "end"), [(0.5, 3), (0.001, 3), (1, 3)])
def test_an_hour_belongs_to_the_question_in_which_it_starts(case: Case, start: float, end: float) -> None:
    assert [point.start for point in fetch(case, start, end)] == [NOON + HOUR, NOON + 2 * HOUR]


@pytest.mark.parametrize(("end", "last"), [(3, 2), (3.001, 3), (2.999, 2)])
def test_the_end_is_left_out(case: Case, end: float, last: int) -> None:
    assert fetch(case, 0, end)[-1].start == NOON + last * HOUR


@pytest.mark.parametrize(("start", "end"), [(0, 0), (5, 1), (0.2, 0.8), (0.5, 1)])
def test_a_span_without_the_start_of_an_hour_is_empty(case: Case, start: float, end: float) -> None:
    assert list(fetch(case, start, end)) == []


def test_questions_can_be_put_together(case: Case) -> None:
    parts = [point for start, end in pairwise([0, 7.5, 20, 31, 31, 60]) for point in fetch(case, start, end)]
    assert parts == list(fetch(case, 0, 60))


def test_the_same_question_has_the_same_answer(case: Case) -> None:
    assert list(fetch(case, 3, 40)) == list(fetch(case, 3, 40))


def test_another_zone_is_known_or_refused(case: Case) -> None:
    if case.knows_every_zone:
        assert len(case.provider.fetch("FR", NOON, NOON + HOUR)) == 1
        assert case.provider.forecast("FR", PRESENT)
    else:
        for ask in (
            lambda: case.provider.fetch("FR", NOON, NOON + HOUR),
            lambda: case.provider.forecast("FR", PRESENT),
        ):
            with pytest.raises(IntensityUnavailable, match=r"FR.*: set SPROUT_ZONE\b.*SPROUT_ZONES.*\.$"):
                ask()


@pytest.mark.parametrize("start", [NOON.replace(tzinfo=None), NOON.astimezone(timezone(timedelta(hours=2)))])
def test_questions_are_in_utc(case: Case, start: datetime) -> None:
    with pytest.raises(InvalidInput, match="is not a UTC time"):
        case.provider.fetch(case.zone, start, NOON + HOUR)
    with pytest.raises(InvalidInput, match="is not a UTC time"):
        case.provider.forecast(case.zone, start)


def test_a_forecast_begins_with_the_present_hour_or_the_next(case: Case) -> None:
    forecast = case.provider.forecast(case.zone, PRESENT)
    assert bool(forecast) == case.forecasts
    if forecast:
        present = NOON + (KNOWN_H - 1) * HOUR
        assert forecast.start in (present, present + HOUR)
        assert forecast.end >= NOON + (KNOWN_H + FORECAST_H) * HOUR
        assert forecast.issued_at <= PRESENT


def test_a_forecast_by_a_clock_that_is_ahead_is_issued_now(case: Case) -> None:
    """The source's clock shows `PRESENT`, this machine's a little less."""
    now = PRESENT - timedelta(minutes=20)
    forecast = case.provider.forecast(case.zone, now)
    if forecast:
        assert now - HOUR <= forecast.issued_at <= now


def test_a_forecast_is_of_the_zone_the_basis_and_the_provider(case: Case) -> None:
    forecast = case.provider.forecast(case.zone, PRESENT)
    if forecast:
        assert (forecast.zone, forecast.basis, forecast.provider) == (case.zone, case.basis, case.provider.name)
        assert case.provider.forecast(case.zone, PRESENT) == forecast
