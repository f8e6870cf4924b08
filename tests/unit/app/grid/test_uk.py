from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from app.domain.errors import IntensityUnavailable
from app.domain.intensity import HOUR
from app.grid.uk import UkProvider
from tests.support.clock import NOON
from tests.support.grid_server import GridClock, GridServer, Response, Uk, figures

DAYS = 30
HOURS = {NOON + hour * HOUR: 1000.0 + hour for hour in range(-24 * DAYS - 1, 100)}
GRID = {"GB": HOURS, "GB-RG10": HOURS, "GB-W1A": HOURS}
PRESENT = NOON + timedelta(minutes=10)


@pytest.fixture
def clock() -> GridClock:
    return GridClock(PRESENT)


@pytest.fixture
def source(clock: GridClock) -> Uk:
    return Uk(GRID, clock)


@pytest.fixture
def server(source: Uk) -> Iterator[GridServer]:
    with GridServer(source) as running:
        yield running


@pytest.fixture
def provider(server: GridServer, clock: GridClock) -> UkProvider:
    return UkProvider(url=server.url, clock=clock)


def refusal(provider: UkProvider, zone: str = "GB") -> str:
    with pytest.raises(IntensityUnavailable) as raised:
        provider.fetch(zone, NOON - HOUR, NOON)
    assert raised.value.message.endswith(".")
    return raised.value.message


def half(time: str, forecast: float | None, actual: float | None) -> dict[str, Any]:
    return {"from": time, "to": time, "intensity": {"forecast": forecast, "actual": actual, "index": "low"}}


def test_half_hours_become_hours(server: GridServer, provider: UkProvider) -> None:
    points = provider.fetch("GB", NOON - 3 * HOUR, NOON)
    assert figures(points) == {-3: 997, -2: 998, -1: 999}
    assert not any(point.is_estimated for point in points)
    assert server.paths == ["/intensity/2026-03-02T09:00Z/2026-03-02T12:00Z"]


def test_what_is_not_measured_yet_has_its_forecast_as_an_estimate(source: Uk, provider: UkProvider) -> None:
    source.measured_until = NOON - HOUR / 2
    points = provider.fetch("GB", NOON - 2 * HOUR, NOON)
    assert [(point.intensity_g_per_kwh, point.is_estimated) for point in points] == [(998, False), (1004, True)]


def test_the_half_hours_to_come_are_no_past_ones(provider: UkProvider) -> None:
    (present,) = provider.fetch("GB", NOON, NOON + 5 * HOUR)
    assert (present.start, present.intensity_g_per_kwh, present.is_estimated) == (NOON, 1009.5, True)


def test_a_half_hour_without_any_figure_is_left_out(server: GridServer, provider: UkProvider) -> None:
    rows = [half("2026-03-02T10:00Z", 7, None), half("2026-03-02T10:30Z", None, None)]
    server.fail(1, Response(body={"data": [*rows, half("2026-03-02T11:00Z", None, None)]}))
    (point,) = provider.fetch("GB", NOON - 2 * HOUR, NOON)
    assert (point.start, point.intensity_g_per_kwh, point.is_estimated) == (NOON - 2 * HOUR, 7, True)


@pytest.mark.parametrize("zone", ["GB-RG10", "GB-W1A"])
def test_a_region_has_forecasts_only(server: GridServer, provider: UkProvider, zone: str) -> None:
    points = provider.fetch(zone, NOON - 2 * HOUR, NOON)
    assert [(point.intensity_g_per_kwh, point.is_estimated) for point in points] == [(1008, True), (1009, True)]
    postcode = zone.removeprefix("GB-")
    assert server.paths == [f"/regional/intensity/2026-03-02T10:00Z/2026-03-02T12:00Z/postcode/{postcode}"]


@pytest.mark.parametrize("listed", [False, True])
def test_a_region_lies_in_an_object_or_in_a_list_of_one(server: GridServer, provider: UkProvider, listed: bool) -> None:
    region = {"regionid": 12, "data": [half("2026-03-02T11:00Z", 5, None), half("2026-03-02T11:30Z", 6, None)]}
    server.fail(1, Response(body={"data": [region] if listed else region}))
    assert figures(provider.fetch("GB-RG10", NOON - HOUR, NOON)) == {-1: 5.5}


def test_a_long_span_is_asked_for_in_parts_that_fit_together(server: GridServer, provider: UkProvider) -> None:
    points = provider.fetch("GB", NOON - 24 * DAYS * HOUR, NOON)
    assert figures(points) == {hour: 1000 + hour for hour in range(-24 * DAYS, 0)}
    assert not any(point.is_estimated for point in points)
    assert len(server.requests) == 3


@pytest.mark.parametrize("zone", ["FR", "gb", "GB-", "GB-rg10", "GB-RG10 8AA", "GB-RG10/../x", "GB-12", "GBR"])
def test_a_zone_of_another_form_is_not_asked_for(server: GridServer, provider: UkProvider, zone: str) -> None:
    message = refusal(provider, zone)
    assert f"does not know the zone {zone}: set SPROUT_ZONE, or SPROUT_ZONES, to GB, or to GB- and the first" in message
    assert server.requests == []


def test_an_unknown_postcode(provider: UkProvider) -> None:
    assert '("No such postcode.") does not know the zone GB-ZZ9: set SPROUT_ZONE' in refusal(provider, "GB-ZZ9")


@pytest.mark.parametrize("text", ["", "{}", " {}\n"])
@pytest.mark.parametrize("zone", ["GB-RG10", "GB"])
def test_an_empty_answer(server: GridServer, provider: UkProvider, text: str, zone: str) -> None:
    server.fail(1, Response(text=text))
    assert f"answered with nothing for zone {zone}" in refusal(provider, zone)


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (Response(text="<html>"), "is not JSON"),
        (Response(text="[]"), "in a shape"),
        (Response(body={"data": None}), "in a shape"),
        (Response(body={"data": [5]}), "in a shape"),
        (Response(body={"data": {"regionid": 1}}), "in a shape"),
        (Response(body={"data": [{"from": "2026-03-02T11:00Z"}]}), "in a shape"),
        (Response(body={"data": [half("noon", 5, 5)]}), "in a shape"),
        (Response(body={"data": [half("2026-03-02T11:00Z", 5, -5)]}), "outside 0 to 10000"),
        (Response(status=409), "refuses the figures of GB with status 409"),
    ],
)
def test_an_answer_that_cannot_be_used(server: GridServer, provider: UkProvider, answer: Response, fault: str) -> None:
    server.fail(1, answer)
    message = refusal(provider)
    assert fault in message
    assert message.startswith("The Carbon Intensity API")


@pytest.mark.parametrize(
    ("zone", "path"),
    [
        ("GB", "/intensity/2026-03-02T12:00Z/fw48h"),
        ("GB-RG10", "/regional/intensity/2026-03-02T12:00Z/fw48h/postcode/RG10"),
    ],
)
def test_a_forecast(server: GridServer, provider: UkProvider, zone: str, path: str) -> None:
    found = provider.forecast(zone, PRESENT)
    assert found is not None
    assert (found.start, len(found.intensity_g_per_kwh), found.issued_at) == (NOON, 48, PRESENT)
    assert found.intensity_g_per_kwh[:2] == [1010, 1011]
    assert server.paths == [path]


def test_a_forecast_is_what_was_expected_not_what_was_measured(server: GridServer, provider: UkProvider) -> None:
    server.fail(1, Response(body={"data": [half("2026-03-02T12:00Z", 50, 90), half("2026-03-02T12:30Z", 60, None)]}))
    found = provider.forecast("GB", NOON + timedelta(minutes=40))
    assert found is not None
    assert found.intensity_g_per_kwh == [55]


def test_a_gap_ends_a_forecast(server: GridServer, provider: UkProvider) -> None:
    rows = [half(f"2026-03-02T{hour}:00Z", None if hour == 14 else hour, None) for hour in range(12, 17)]
    server.fail(1, Response(body={"data": rows}))
    found = provider.forecast("GB", PRESENT)
    assert found is not None
    assert found.intensity_g_per_kwh == [12, 13]


def test_an_answer_within_the_minute_is_not_asked_for_again(
    server: GridServer, provider: UkProvider, clock: GridClock
) -> None:
    for _ in range(3):
        provider.fetch("GB", NOON - HOUR, NOON + HOUR)
        provider.forecast("GB", clock.now())
        clock.advance(seconds=10)
    assert len(server.requests) == 2
