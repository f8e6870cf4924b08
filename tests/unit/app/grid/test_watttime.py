from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from app.domain.errors import IntensityUnavailable
from app.domain.intensity import HOUR
from app.grid.watttime import TOKEN_LIFE_S, WattTimeProvider
from tests.support.clock import NOON
from tests.support.grid_server import GridClock, GridServer, Response, WattTime, figures

DAYS = 70
ZONE = "CAISO_NORTH"
GRID = {ZONE: {NOON + hour * HOUR: 2000.0 + hour for hour in range(-24 * DAYS, 100)}}
PRESENT = NOON + timedelta(minutes=34)


@pytest.fixture
def clock() -> GridClock:
    return GridClock(PRESENT)


@pytest.fixture
def source(clock: GridClock) -> WattTime:
    return WattTime(GRID, clock)


@pytest.fixture
def server(source: WattTime) -> Iterator[GridServer]:
    with GridServer(source) as running:
        yield running


@pytest.fixture
def provider(server: GridServer, clock: GridClock) -> WattTimeProvider:
    return WattTimeProvider("ann", "hunter2", url=server.url, clock=clock)


def past(provider: WattTimeProvider, hours: int = 3, zone: str = ZONE) -> dict[int, float]:
    """The last whole hours, that of eleven included."""
    return figures(provider.fetch(zone, NOON - hours * HOUR, NOON))


def refusal(provider: WattTimeProvider, zone: str = ZONE) -> str:
    with pytest.raises(IntensityUnavailable) as raised:
        past(provider, zone=zone)
    assert "hunter2" not in raised.value.message
    assert "token-" not in raised.value.message
    return raised.value.message


def test_pounds_per_mwh_become_grams_per_kwh(server: GridServer, provider: WattTimeProvider) -> None:
    rows = [{"point_time": f"2026-03-02T11:{minute:02}:00+00:00", "value": 1000 + minute} for minute in range(0, 60, 5)]
    meta = {"signal_type": "co2_moer", "units": "lbs_co2_per_mwh"}
    server.fail(1, Response(body={"token": "t"}))
    server.fail(1, Response(body={"data": rows, "meta": meta}))
    (point,) = provider.fetch(ZONE, NOON - HOUR, NOON)
    assert point.intensity_g_per_kwh == pytest.approx(1027.5 * 0.45359237)
    assert not point.is_estimated


def test_the_signal_is_pinned(server: GridServer, provider: WattTimeProvider) -> None:
    assert past(provider, 2) == {-2: 1998, -1: 1999}
    login, asked = server.requests
    assert login.path == "/login"
    assert login.headers["authorization"].startswith("Basic ")
    assert (asked.path, asked.headers["authorization"]) == ("/v3/historical", "Bearer token-0")
    assert asked.params == {
        "region": ZONE,
        "signal_type": "co2_moer",
        "start": "2026-03-02T10:00:00Z",
        "end": "2026-03-02T12:00:00Z",
    }


def test_the_present_hour_is_an_estimate_until_it_is_whole(provider: WattTimeProvider) -> None:
    before, present = provider.fetch(ZONE, NOON - HOUR, NOON + HOUR)
    assert (before.is_estimated, present.is_estimated) == (False, True)
    assert 1994 < present.intensity_g_per_kwh < 2000  # the mean of the first seven of twelve parts


def test_a_long_span_is_asked_for_in_parts_that_fit_together(server: GridServer, provider: WattTimeProvider) -> None:
    points = provider.fetch(ZONE, NOON - 24 * DAYS * HOUR, NOON)
    assert figures(points) == {hour: 2000 + hour for hour in range(-24 * DAYS, 0)}
    assert not any(point.is_estimated for point in points)
    assert server.paths.count("/v3/historical") == 3


def test_a_null_is_left_out(server: GridServer, provider: WattTimeProvider) -> None:
    past(provider, 1)
    rows = [
        {"point_time": "2026-03-02T09:00:00+00:00", "value": None},
        {"point_time": "2026-03-02T10:00:00+00:00", "value": 0},
        {"point_time": "2026-03-02T10:05:00+00:00", "value": None},
    ]
    meta = {"signal_type": "co2_moer", "units": "lbs_co2_per_mwh"}
    server.fail(1, Response(body={"data": rows, "meta": meta}))
    (point,) = provider.fetch(ZONE, NOON - 3 * HOUR, NOON)
    assert (point.start, point.intensity_g_per_kwh, point.is_estimated) == (NOON - 2 * HOUR, 0, True)


def test_a_token_is_used_until_it_is_old(server: GridServer, provider: WattTimeProvider, clock: GridClock) -> None:
    for _ in range(2):
        past(provider)
        clock.advance(seconds=TOKEN_LIFE_S / 2 - 60)
    assert server.paths.count("/login") == 1
    clock.advance(seconds=121)
    past(provider)
    assert server.paths.count("/login") == 2


def test_a_token_that_is_refused_is_renewed_once(
    server: GridServer, source: WattTime, provider: WattTimeProvider, clock: GridClock
) -> None:
    past(provider)
    source.issued.append("another")
    clock.advance(minutes=5)
    assert past(provider)
    assert server.paths.count("/login") == 2
    source.issued.append("another")
    server.fail(1, Response(status=401))
    server.fail(1, Response(body={"token": "useless"}))
    clock.advance(minutes=5)
    assert "check SPROUT_WATTTIME_USER and SPROUT_WATTTIME_PASSWORD" in refusal(provider)


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_password(server: GridServer, source: WattTime, provider: WattTimeProvider, status: int) -> None:
    source.password = "changed"
    if status != 401:
        server.fail(1, Response(status=status, body={"error": "Wrong password hunter2"}))
    message = refusal(provider)
    assert message == (
        'WattTime does not accept the account ("Wrong password ***"): check SPROUT_WATTTIME_USER and '
        "SPROUT_WATTTIME_PASSWORD."
    )


@pytest.mark.parametrize("answer", [Response(body={}), Response(text="<html>"), Response(status=404)])
def test_a_sign_in_that_cannot_be_used(server: GridServer, provider: WattTimeProvider, answer: Response) -> None:
    server.fail(1, answer)
    assert "WattTime" in refusal(provider)


@pytest.mark.parametrize(
    ("meta", "fault"),
    [
        ({"units": "kg_co2_per_mwh"}, "answered with co2_moer in kg_co2_per_mwh where co2_moer in lbs_co2_per_mwh was"),
        ({"signal_type": "health_damage"}, "answered with health_damage in lbs_co2_per_mwh"),
        ({"region": "PJM"}, "which answered for PJM, does not know the zone CAISO_NORTH: set SPROUT_ZONE"),
    ],
)
def test_another_signal_unit_or_region_is_refused(
    source: WattTime, provider: WattTimeProvider, meta: dict[str, Any], fault: str
) -> None:
    source.meta = meta
    assert fault in refusal(provider)
    with pytest.raises(IntensityUnavailable):
        provider.forecast(ZONE, PRESENT)


def test_warnings_are_logged_once(
    source: WattTime, provider: WattTimeProvider, clock: GridClock, caplog: pytest.LogCaptureFixture
) -> None:
    source.meta = {"warnings": [{"type": "DATA_LATE", "message": "Half an hour"}]}
    for _ in range(3):
        past(provider)
        clock.advance(minutes=5)
    lines = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert lines == ["WattTime, zone CAISO_NORTH: DATA_LATE: Half an hour"]


def test_an_unknown_zone(provider: WattTimeProvider) -> None:
    assert "does not know the zone XX: set SPROUT_ZONE, or SPROUT_ZONES, to the abbreviation" in refusal(provider, "XX")


def test_a_plan_without_the_region(source: WattTime, provider: WattTimeProvider) -> None:
    source.plan = set()
    message = refusal(provider)
    assert "The WattTime plan of SPROUT_WATTTIME_USER does not hold historical of zone CAISO_NORTH" in message
    assert provider.forecast(ZONE, PRESENT) is None


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (Response(text=""), "is not JSON"),
        (Response(text="[]"), "in a shape"),
        (Response(body={"data": []}), "in a shape"),
        (Response(body={"data": [], "meta": {}}), "in a shape"),
        (Response(body={"meta": {"signal_type": "co2_moer", "units": "lbs_co2_per_mwh"}}), "in a shape"),
        (Response(status=409), "refuses historical of zone CAISO_NORTH with status 409"),
    ],
)
def test_an_answer_that_cannot_be_used(
    server: GridServer, provider: WattTimeProvider, answer: Response, fault: str
) -> None:
    server.fail(1, Response(body={"token": "t"}))
    server.fail(1, answer)
    message = refusal(provider)
    assert fault in message
    assert message.endswith(".")


def test_figures_that_cannot_be_are_refused(provider: WattTimeProvider, source: WattTime) -> None:
    source.grid = {ZONE: {NOON - HOUR: 50_000.0}}
    assert "outside 0 to 10000" in refusal(provider)


def test_a_forecast(server: GridServer, provider: WattTimeProvider) -> None:
    found = provider.forecast(ZONE, PRESENT)
    assert found is not None
    assert (found.start, len(found.intensity_g_per_kwh)) == (NOON, 73)
    assert found.intensity_g_per_kwh[1] == pytest.approx(2001)
    assert found.issued_at.replace(microsecond=0) == NOON + timedelta(minutes=29)
    assert server.requests[-1].params == {"region": ZONE, "signal_type": "co2_moer", "horizon_hours": "72"}


def test_a_shorter_forecast_where_there_is_no_longer_one(server: GridServer, provider: WattTimeProvider) -> None:
    server.fail(1, Response(body={"token": "token-0"}))
    server.fail(1, Response(status=400, body={"error": "horizon_hours is too large"}))
    server.fail(1, Response(status=401))
    found = provider.forecast(ZONE, PRESENT)
    assert found is not None
    assert len(found.intensity_g_per_kwh) == 25


def test_an_answer_within_the_minute_is_not_asked_for_again(
    server: GridServer, provider: WattTimeProvider, clock: GridClock
) -> None:
    for _ in range(3):
        past(provider)
        clock.advance(seconds=10)
    assert server.paths == ["/login", "/v3/historical"]
