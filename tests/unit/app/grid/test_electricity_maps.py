from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from app.domain.errors import IntensityUnavailable
from app.domain.intensity import HOUR, Basis
from app.grid.electricity_maps import LACKING_S, ElectricityMapsProvider
from tests.support.clock import NOON
from tests.support.grid_server import ElectricityMaps, GridClock, GridServer, Response, figures

DAYS = 25
GRID = {"DE": {NOON + hour * HOUR: 1000.0 + hour for hour in range(-24 * DAYS, 100)}}
PRESENT = NOON + timedelta(minutes=34)


@pytest.fixture
def clock() -> GridClock:
    return GridClock(PRESENT)


@pytest.fixture
def source(clock: GridClock) -> ElectricityMaps:
    return ElectricityMaps(GRID, clock)


@pytest.fixture
def server(source: ElectricityMaps) -> Iterator[GridServer]:
    with GridServer(source) as running:
        yield running


def maps(server: GridServer, clock: GridClock, basis: Basis = Basis.LIFECYCLE_AVERAGE) -> ElectricityMapsProvider:
    return ElectricityMapsProvider("letmein", basis=basis, url=server.url, clock=clock)


@pytest.fixture
def provider(server: GridServer, clock: GridClock) -> ElectricityMapsProvider:
    return maps(server, clock)


def past(provider: ElectricityMapsProvider, hours: int = 3, zone: str = "DE") -> dict[int, float]:
    """The last hours, that of noon included."""
    return figures(provider.fetch(zone, NOON - (hours - 1) * HOUR, NOON + HOUR))


def refusal(provider: ElectricityMapsProvider, zone: str = "DE") -> str:
    with pytest.raises(IntensityUnavailable) as raised:
        past(provider, zone=zone)
    assert "letmein" not in raised.value.message
    return raised.value.message


@pytest.mark.parametrize(
    ("basis", "factors", "grams"),
    [(Basis.LIFECYCLE_AVERAGE, "lifecycle", 1000), (Basis.DIRECT_AVERAGE, "direct", 250)],
)
def test_the_basis_is_pinned_and_no_place_is_guessed(
    server: GridServer, clock: GridClock, basis: Basis, factors: str, grams: float
) -> None:
    assert past(maps(server, clock, basis), 1) == {0: grams}
    (request,) = server.requests
    assert request.path == "/v4/carbon-intensity/past-range"
    assert request.headers["auth-token"] == "letmein"
    assert request.params == {
        "zone": "DE",
        "emissionFactorType": factors,
        "disableCallerLookup": "true",
        "temporalGranularity": "hourly",
        "start": "2026-03-02T12:00:00Z",
        "end": "2026-03-02T13:00:00Z",
    }


@pytest.mark.parametrize("plan", ["past-range", "history", "latest"])
def test_figures_on_another_basis_are_refused(
    source: ElectricityMaps, provider: ElectricityMapsProvider, plan: str
) -> None:
    source.plan, source.factors = {plan}, "direct"
    message = refusal(provider)
    assert "answered with direct figures where lifecycle ones were asked for: set SPROUT_INTENSITY_BASIS" in message


def test_the_time_of_a_figure_is_its_own(provider: ElectricityMapsProvider) -> None:
    assert past(provider) == {-2: 998, -1: 999, 0: 1000}


def test_a_null_is_an_absent_hour(source: ElectricityMaps, provider: ElectricityMapsProvider) -> None:
    source.unmeasured = {NOON - HOUR}
    assert past(provider) == {-2: 998, 0: 1000}


def test_estimates_are_marked(source: ElectricityMaps, provider: ElectricityMapsProvider) -> None:
    source.estimated_from = NOON - HOUR
    points = provider.fetch("DE", NOON - 2 * HOUR, NOON + HOUR)
    assert [point.is_estimated for point in points] == [False, True, True]


def test_a_long_span_is_asked_for_in_parts(server: GridServer, provider: ElectricityMapsProvider) -> None:
    assert past(provider, 24 * DAYS) == {hour: 1000 + hour for hour in range(1 - 24 * DAYS, 1)}
    assert len(server.requests) == 3


def test_the_future_is_not_asked_for(server: GridServer, provider: ElectricityMapsProvider) -> None:
    assert figures(provider.fetch("DE", NOON, NOON + 50 * HOUR)) == {0: 1000}
    assert server.requests[0].params["end"] == "2026-03-02T13:00:00Z"
    assert provider.fetch("DE", NOON + HOUR, NOON + 3 * HOUR) == []
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("plan", "known"), [({"history", "latest"}, range(-23, 1)), ({"history"}, range(-23, 1)), ({"latest"}, [0])]
)
def test_a_small_plan_reaches_less_far(
    source: ElectricityMaps, provider: ElectricityMapsProvider, plan: set[str], known: range
) -> None:
    source.plan = plan
    assert past(provider, 50) == {hour: 1000 + hour for hour in known}


def test_what_the_plan_lacks_is_not_asked_for_again_soon(
    server: GridServer, source: ElectricityMaps, provider: ElectricityMapsProvider, clock: GridClock
) -> None:
    source.plan = {"history"}
    past(provider)
    clock.advance(minutes=5)
    past(provider)
    assert [path.rpartition("/")[2] for path in server.paths] == ["past-range", "history", "history"]
    source.plan = {"past-range"}
    clock.advance(seconds=LACKING_S)
    past(provider, 60)
    assert server.paths[-1].endswith("past-range")


def test_a_plan_without_any_past(source: ElectricityMaps, provider: ElectricityMapsProvider) -> None:
    source.plan = {"forecast"}
    message = refusal(provider)
    assert "The plan of SPROUT_ELECTRICITY_MAPS_TOKEN gives no past hours of zone DE" in message
    assert "set SPROUT_ZONE, or SPROUT_ZONES" in message


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_token(server: GridServer, provider: ElectricityMapsProvider, status: int) -> None:
    server.fail(2, Response(status=status, body={"message": "The token letmein is wrong"}))
    assert "does not accept the token" in refusal(provider)
    with pytest.raises(IntensityUnavailable, match="check SPROUT_ELECTRICITY_MAPS_TOKEN"):
        provider.forecast("DE", PRESENT)


def test_an_unknown_zone(provider: ElectricityMapsProvider) -> None:
    assert "does not know the zone XX: set SPROUT_ZONE, or SPROUT_ZONES, to one of" in refusal(provider, "XX")


def test_an_answer_for_another_place(server: GridServer, provider: ElectricityMapsProvider) -> None:
    server.fail(1, Response(body={"zone": "FR", "data": []}))
    assert "which answered for FR, does not know the zone DE: set SPROUT_ZONE" in refusal(provider)


def test_version_3_where_version_4_lacks_a_path(
    server: GridServer, source: ElectricityMaps, provider: ElectricityMapsProvider, clock: GridClock
) -> None:
    source.versions = {"v3"}
    assert past(provider) == {-2: 998, -1: 999, 0: 1000}
    clock.advance(minutes=5)
    past(provider)
    assert provider.forecast("DE", PRESENT)
    assert [path.split("/")[1] for path in server.paths] == ["v4", "v3", "v3", "v4", "v3"]


def test_an_unknown_zone_does_not_show_that_a_path_is_gone(
    server: GridServer, provider: ElectricityMapsProvider
) -> None:
    refusal(provider, "XX")
    past(provider)
    assert [path.split("/")[1] for path in server.paths] == ["v4", "v3", "v4"]


def row(hour: datetime, grams: float) -> dict[str, object]:
    return {"zone": "DE", "carbonIntensity": grams, "datetime": hour.isoformat(), "emissionFactorType": "lifecycle"}


@pytest.mark.parametrize(
    "body",
    [
        {"zone": "DE", "history": [row(NOON, 5)]},
        {"zone": "DE", "data": [row(NOON, 5)]},
        {"zone": "DE", "data": row(NOON, 5)},
        {"data": [row(NOON, 4), row(NOON + HOUR / 2, 6)]},
        row(NOON, 5),
    ],
)
def test_every_envelope_is_opened(
    server: GridServer, provider: ElectricityMapsProvider, body: dict[str, object]
) -> None:
    server.fail(1, Response(body=body))
    assert past(provider) == {0: 5}


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (Response(text=""), "is not JSON"),
        (Response(text="<html>"), "is not JSON"),
        (Response(text="[]"), "in a shape"),
        (Response(text="5"), "in a shape"),
        (Response(body={"history": [{"datetime": "2026-03-02T12:00:00Z"}]}), "in a shape"),
        (Response(body={"history": [row(NOON, 5) | {"datetime": "2026-03-02"}]}), "in a shape"),
        (Response(body={"history": [row(NOON, 5) | {"carbonIntensity": "5"}]}), "in a shape"),
        (Response(body={"history": [5]}), "in a shape"),
        (Response(body={"history": None}), "in a shape"),
        (Response(body={"history": [row(NOON, 10_000)]}), "outside 0 to 10000"),
        (Response(body={"history": [row(NOON, -1)]}), "outside 0 to 10000"),
        (Response(body={"history": [row(NOON, float("nan"))]}), "outside 0 to 10000"),
        (Response(status=409), "refuses past-range of zone DE with status 409"),
        (Response(status=301), "refuses past-range of zone DE with status 301"),
    ],
)
def test_an_answer_that_cannot_be_used(
    server: GridServer, provider: ElectricityMapsProvider, answer: Response, fault: str
) -> None:
    server.fail(1, answer)
    message = refusal(provider)
    assert fault in message
    assert message.startswith("Electricity Maps")
    assert message.endswith(".")


def test_a_forecast(server: GridServer, provider: ElectricityMapsProvider) -> None:
    found = provider.forecast("DE", PRESENT)
    assert found is not None
    assert (found.start, len(found.intensity_g_per_kwh)) == (NOON, 73)
    assert found.issued_at == NOON + timedelta(minutes=27)
    assert server.requests[0].params["horizonHours"] == "72"


def test_a_forecast_that_was_updated_in_the_future_is_refused(
    server: GridServer, provider: ElectricityMapsProvider
) -> None:
    rows = [{"carbonIntensity": 1, "datetime": NOON.isoformat()}]
    server.fail(1, Response(body={"zone": "DE", "forecast": rows, "updatedAt": "2099-01-01T00:00:00Z"}))
    with pytest.raises(IntensityUnavailable, match="electricity_maps dates its forecast of zone DE 2099-01-01T00:00"):
        provider.forecast("DE", PRESENT)


def test_a_shorter_forecast_where_the_plan_has_no_longer_one(
    server: GridServer, source: ElectricityMaps, provider: ElectricityMapsProvider, clock: GridClock
) -> None:
    source.longest_horizon_h = 24
    for _ in range(2):
        found = provider.forecast("DE", clock.now())
        assert found is not None
        assert len(found.intensity_g_per_kwh) == 25
        clock.advance(minutes=5)
    assert len(server.requests) == 3


def test_no_forecast_where_the_plan_lacks_it(source: ElectricityMaps, provider: ElectricityMapsProvider) -> None:
    source.plan = {"latest"}
    assert provider.forecast("DE", PRESENT) is None


def test_a_forecast_of_direct_figures_is_not_taken_for_lifecycle(
    server: GridServer, provider: ElectricityMapsProvider
) -> None:
    rows = [{"carbonIntensity": 5, "datetime": NOON.isoformat()}]
    server.fail(1, Response(body={"zone": "DE", "forecast": rows, "emissionFactorType": "direct"}))
    with pytest.raises(IntensityUnavailable, match="answered with direct figures"):
        provider.forecast("DE", PRESENT)


def test_an_answer_within_the_minute_is_not_asked_for_again(
    server: GridServer, provider: ElectricityMapsProvider, clock: GridClock
) -> None:
    for _ in range(3):
        past(provider)
        provider.forecast("DE", clock.now())
        clock.advance(seconds=10)
    assert len(server.requests) == 2
