"""What a batch would emit and when it would end, before it is submitted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from app.domain.batch import Schedule
from app.domain.errors import Conflict, InvalidInput
from app.domain.intensity import HOUR
from app.services import quotes
from app.services.quotes import MOST_REQUESTS, Option, Quote
from app.store import forecasts, intensity
from app.store.database import TENANT
from tests.support.api import Api, error_of
from tests.support.clock import NOON
from tests.support.factories import line
from tests.support.grid import a_forecast, a_point
from tests.support.services import Desk, Desks, jsonl

FALLING = [400.0 - 2 * hour for hour in range(170)]


@pytest.fixture
def desk(desks: Desks) -> Desk:
    """A device runs a hundred requests an hour."""
    desk = desks.desk(shard_size=10)
    desk.measure()
    desk.expect(FALLING)
    return desk


def quote(desk: Desk, requests: Mapping[str, int] | None = None, window: str = "24h", **changes: Any) -> Quote:
    values: dict[str, Any] = {"zones": None, "level": None, "size": 0, **changes}
    return quotes.quote(desk.context, TENANT, requests=requests or {"default": 100}, completion_window=window, **values)


def test_a_pinned_level_is_quoted_as_that_level(desks: Desks) -> None:
    desk = desks.desk(prior="paper")
    desk.measure()
    desk.expect([300.0] * 170)
    long, short = (quote(desk, level=level).options[0] for level in ("L0", "L2"))
    assert long.footprint_g > short.footprint_g
    with pytest.raises(InvalidInput, match="L9"):
        quote(desk, level="L9")


def at_once(found: Quote) -> Option:
    return found.options[0]


def test_a_quote_offers_to_run_at_once_and_ever_longer_windows(desk: Desk) -> None:
    found = quote(desk, window="5d")
    assert (found.requests, found.intensity_basis) == (100, "lifecycle-average")
    assert [(option.schedule, option.window_h) for option in found.options] == [
        (Schedule.ASAP, 120.0),
        *((Schedule.CARBON, float(hours)) for hours in (1, 3, 6, 12, 24, 48, 96, 120)),
    ]
    assert [option.window_h for option in quote(desk, window="24h").options] == [24.0, 1.0, 3.0, 6.0, 12.0, 24.0]


def test_the_longer_it_may_wait_the_less_it_emits(desk: Desk) -> None:
    found = quote(desk, window="7d")
    grams = [option.footprint_g for option in found.options[1:]]
    assert grams == sorted(grams, reverse=True)
    assert grams[-1] < grams[2] < at_once(found).footprint_g
    embodied_g = 100 * 36 * desk.context.hardware.embodied_g_per_device_s
    assert at_once(found).footprint_g == pytest.approx(100 * 0.01 * 400 + embodied_g)
    ends = [option.expected_end for option in found.options]
    assert ends[0] == (NOON + HOUR).isoformat()
    assert ends[1:] == sorted(ends[1:])


def test_a_quote_says_what_the_batch_then_promises(desk: Desk) -> None:
    desk.see()
    found = quote(desk, window="12h").options[-1]
    content = jsonl(line(f"r{number}") for number in range(100))
    batch = desk.validated(content, completion_window="12h", metadata={"sprout_schedule": "carbon"})
    assert batch.first_plan is not None
    for name in ("expected_end", "in_time", "reason", "footprint_g"):
        assert batch.first_plan[name] == getattr(found, name), name


def test_what_is_open_already_takes_its_room(desk: Desk) -> None:
    desk.validated(jsonl(line(f"r{number}") for number in range(300)), completion_window="12h")
    assert at_once(quote(desk)).expected_end == (NOON + 4 * HOUR).isoformat()


def test_what_would_be_late_is_said(desk: Desk) -> None:
    found = quote(desk, {"default": 200}, window="6h")
    assert [option.in_time for option in found.options] == [True, False, False, True]
    assert "this batch would end at" in found.options[1].reason


def test_workloads_are_told_apart(desk: Desk) -> None:
    desk.measure(workload="long", energy_j=360_000.0, device_s=360.0)
    short, mixed, long = (
        at_once(quote(desk, requests)).footprint_g
        for requests in ({"default": 10}, {"default": 5, "long": 5}, {"long": 10})
    )
    assert long == pytest.approx(10 * short, rel=0.01)
    assert mixed == pytest.approx((short + long) / 2, rel=0.01)


def test_without_scored_forecasts_there_is_no_interval(desk: Desk) -> None:
    found = quote(desk).options[-1]
    assert found.footprint_g_interval is None


def test_forecasts_that_erred_widen_the_interval(desk: Desk) -> None:
    """For thirty days forecasts of 400 met figures of 300, an error of a quarter."""
    with desk.context.database.transaction() as connection:
        for hour in range(-720, 0):
            intensity.put(connection, [a_point(hour, 300.0)], NOON)
        for hour in range(-720, -170, 2):
            forecasts.put(connection, a_forecast([400.0] * 169, start=hour, issued=hour))
    found = quote(desk).options[-1]
    assert found.footprint_g_interval is not None
    low, high = found.footprint_g_interval
    embodied_g = 100 * 36 * desk.context.hardware.embodied_g_per_device_s
    operational_g = found.footprint_g - embodied_g
    assert low - embodied_g == pytest.approx(0.75 * operational_g)
    assert high - embodied_g == pytest.approx(1.25 * operational_g)


def test_a_large_batch_is_quoted_in_coarse_shards(desk: Desk) -> None:
    found = quote(desk, {"default": MOST_REQUESTS}, window="7d")
    assert {option.in_time for option in found.options} == {False}
    assert all(option.footprint_g > 0 for option in found.options)


def test_asking_changes_nothing(desk: Desk) -> None:
    desk.validated(jsonl([line()]), metadata={"sprout_schedule": "carbon"})
    tables = desk.rows("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
    before = {table: desk.rows(f"SELECT xmin::text, t::text FROM {table} AS t ORDER BY t::text") for table in tables}
    sent = list(desk.dispatcher.sent)
    quote(desk, {"unseen": 5})
    after = {table: desk.rows(f"SELECT xmin::text, t::text FROM {table} AS t ORDER BY t::text") for table in tables}
    assert (after, desk.dispatcher.sent) == (before, sent)


def test_where_nothing_is_measured_there_is_nothing_to_say(desks: Desks) -> None:
    with pytest.raises(Conflict, match="run a small batch first"):
        quote(desks.desk())


@pytest.mark.parametrize(
    "requests",
    [{"default": 0}, {"default": -1}, {"default": 5, "mail": 0}, {"default": MOST_REQUESTS + 1}],
    ids=["none", "negative", "one of them none", "too many"],
)
def test_counts_that_cannot_be(desk: Desk, requests: Mapping[str, int]) -> None:
    with pytest.raises(InvalidInput, match="1 to 100000000 in all") as refusal:
        quote(desk, requests)
    assert refusal.value.param == "requests"


def test_a_quote_for_nothing_is_refused(desk: Desk) -> None:
    with pytest.raises(InvalidInput, match="Say how many requests there are of each workload"):
        quotes.quote(desk.context, TENANT, requests={}, completion_window="24h", zones=None, level=None, size=0)


@pytest.mark.parametrize("name", ["", "mail~1", "x" * 200, "a b", "ä\n"])
def test_workloads_that_cannot_be(desk: Desk, name: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        quote(desk, {name: 5})
    assert refusal.value.param == "requests"


@pytest.mark.parametrize("window", ["", "30m", "8d", "24"])
def test_windows_that_cannot_be(desk: Desk, window: str) -> None:
    with pytest.raises(InvalidInput, match="from '1h' to '7d'"):
        quote(desk, window=window)


def test_zones_that_cannot_be(desk: Desk) -> None:
    with pytest.raises(InvalidInput, match="There are no workers in the zone 'MARS': choose among WORLD"):
        quote(desk, zones="MARS")


@pytest.fixture
def both(desks: Desks) -> Desk:
    """Zone B is cleaner, and a worker is in each."""
    desk = desks.desk(zone="A", zones=("A", "B"), shard_size=10, embodied_g=0.0)
    desk.measure()
    for zone, grams in (("A", 300.0), ("B", 100.0)):
        desk.expect([grams] * 170, zone=zone)
        desk.see(zone=zone, worker=zone)
    return desk


def test_another_zone_may_be_cleaner(both: Desk) -> None:
    home, away = at_once(quote(both)), at_once(quote(both, zones="any"))
    assert home.footprint_g / away.footprint_g == pytest.approx(3.0, rel=0.05)


def test_a_file_to_be_moved_counts_in_the_choice(both: Desk) -> None:
    found = at_once(quote(both, zones="any", size=10**12))
    assert found.footprint_g == pytest.approx(at_once(quote(both)).footprint_g)


def test_a_quote_over_the_api(desk: Desk) -> None:
    found = Api(desk.context).post("/sprout/v1/quote", json={"requests": {"default": 100}, "completion_window": "3h"})
    assert set(found) == {"requests", "intensity_basis", "options"}
    assert [set(option) for option in found["options"]] == [
        {
            "schedule", "window_h", "expected_end", "in_time", "footprint_g", "footprint_g_interval", "reason",
        }
    ] * 3  # fmt: skip
    assert [option["schedule"] for option in found["options"]] == ["asap", "carbon", "carbon"]


def test_over_the_api_nothing_measured_is_a_refusal(desks: Desks) -> None:
    response = Api(desks.desk().context)("POST", "/sprout/v1/quote", json={"requests": {"default": 1}})
    assert "run a small batch first" in error_of(response, 400)["message"]


@pytest.mark.parametrize(
    "body",
    [
        {}, {"requests": None}, {"requests": {"default": "many"}}, {"requests": {"default": 1.5}}, {"requests": [1]},
        {"requests": {"default": 1}, "bytes": 10**400},
        {"requests": {"default": 1}, "bytes": -1}, {"requests": {"default": 1}, "bytes": 1e400},
        {"requests": {"default": 10**30}}, {"requests": {"a\0": 1}}, {"requests": {"default": 1}, "zones": "\0"},
        {"requests": {"default": 1}, "zones": ["A"]}, {"requests": {"default": 1}, "completion_window": 24},
    ],
    ids=lambda body: str(body)[:60],
)  # fmt: skip
def test_over_the_api_what_cannot_be_read_is_refused(desk: Desk, body: Any) -> None:
    content = json.dumps(body)
    response = Api(desk.context)(
        "POST", "/sprout/v1/quote", content=content, headers={"content-type": "application/json"}
    )
    error_of(response, 400)
