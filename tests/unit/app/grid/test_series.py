from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from app.domain.errors import IntensityUnavailable, InvalidInput
from app.domain.intensity import HOUR, Basis, IntensityPoint
from app.grid.series import forecast_of, hourly, hours_in, iso, moment, number, spans
from tests.support.clock import NOON


def point(hour: float, grams: float = 100, *, estimated: bool = False) -> IntensityPoint:
    return IntensityPoint(
        zone="DE",
        start=NOON + hour * HOUR,
        intensity_g_per_kwh=grams,
        basis=Basis.DIRECT_AVERAGE,
        provider="x",
        is_estimated=estimated,
    )


@pytest.mark.parametrize(
    ("start", "end", "hours"),
    [(0, 3, [0, 1, 2]), (0.1, 3, [1, 2]), (0, 2.1, [0, 1, 2]), (0.2, 0.9, []), (3, 1, []), (0, 0, [])],
)
def test_the_hours_in_a_span(start: float, end: float, hours: list[int]) -> None:
    assert hours_in(NOON + start * HOUR, NOON + end * HOUR) == [NOON + hour * HOUR for hour in hours]


def test_both_ends_are_utc() -> None:
    for start, end in ((NOON.replace(tzinfo=None), NOON), (NOON, NOON.replace(tzinfo=None))):
        with pytest.raises(InvalidInput, match="is not a UTC time"):
            hours_in(start, end)


@pytest.mark.parametrize(("hours", "lengths"), [(0, []), (1, [1]), (48, [48]), (49, [48, 1]), (100, [48, 48, 4])])
def test_a_long_question_is_put_in_parts(hours: int, lengths: list[int]) -> None:
    found = list(spans(hours_in(NOON, NOON + hours * HOUR), timedelta(days=2)))
    assert [(end - start) // HOUR for start, end in found] == lengths
    assert all(earlier[1] == later[0] for earlier, later in pairwise(found))
    assert not found or (found[0][0], found[-1][1]) == (NOON, NOON + hours * HOUR)


def test_an_hour_is_the_mean_of_its_parts() -> None:
    found = hourly([point(0, 10), point(0.5, 30), point(1, 5), point(1.5, 6)], parts=2)
    assert [(p.start, p.intensity_g_per_kwh, p.is_estimated) for p in found] == [
        (NOON, 20, False),
        (NOON + HOUR, 5.5, False),
    ]


def test_an_hour_is_estimated_if_a_part_is() -> None:
    found = hourly([point(0), point(0.5, estimated=True), point(1), point(1.5)], parts=2)
    assert [p.is_estimated for p in found] == [True, False]


def test_an_hour_of_which_parts_are_missing_is_estimated() -> None:
    (found,) = hourly([point(0.5, 40)], parts=2)
    assert (found.start, found.intensity_g_per_kwh, found.is_estimated) == (NOON, 40, True)


def test_hours_ascend_and_the_later_of_two_figures_counts() -> None:
    found = hourly([point(2, 2), point(0, 7), point(0, 1)])
    assert [(p.start, p.intensity_g_per_kwh) for p in found] == [(NOON, 1), (NOON + 2 * HOUR, 2)]


def test_a_forecast_ends_at_its_first_gap() -> None:
    found = forecast_of([point(h, h) for h in (0, 1, 2, 4, 5)], now=NOON + HOUR / 2, issued_at=NOON)
    assert found is not None
    assert (found.start, found.intensity_g_per_kwh) == (NOON, [0, 1, 2])
    assert (found.zone, found.basis, found.provider, found.issued_at) == ("DE", Basis.DIRECT_AVERAGE, "x", NOON)


def test_a_forecast_may_begin_with_the_next_hour_and_leaves_out_the_past() -> None:
    found = forecast_of([point(h, h) for h in (0, 2, 3)], now=NOON + HOUR, issued_at=NOON)
    assert found is not None
    assert (found.start, found.intensity_g_per_kwh) == (NOON + 2 * HOUR, [2, 3])


@pytest.mark.parametrize("ahead", [timedelta(seconds=1), HOUR])
def test_a_source_whose_clock_is_somewhat_ahead_issues_now(ahead: timedelta) -> None:
    found = forecast_of([point(0)], now=NOON, issued_at=NOON + ahead)
    assert found is not None
    assert found.issued_at == NOON


def test_a_forecast_from_the_future_is_refused() -> None:
    with pytest.raises(IntensityUnavailable) as raised:
        forecast_of([point(0)], now=NOON, issued_at=datetime(2099, 1, 1, tzinfo=UTC))
    assert raised.value.message == (
        "x dates its forecast of zone DE 2099-01-01T00:00:00Z, and it is 2026-03-02T12:00:00Z here: check the clock of "
        "this machine."
    )


@pytest.mark.parametrize("hours", [[], [-2, -1], [2, 3]])
def test_what_does_not_begin_now_is_no_forecast(hours: list[int]) -> None:
    assert forecast_of([point(h) for h in hours], now=NOON, issued_at=NOON) is None


@pytest.mark.parametrize(
    "text",
    ["2018-01-20T12:00Z", "2018-01-20T12:00:00.000Z", "2018-01-20T12:00:00+00:00", "2018-01-20T13:00:00+01:00"],
)
def test_times_as_sources_write_them(text: str) -> None:
    assert moment(text) == datetime(2018, 1, 20, 12, tzinfo=UTC)
    assert moment(text).tzinfo is UTC
    assert iso(moment(text)) == "2018-01-20T12:00:00Z"


@pytest.mark.parametrize("text", ["2018-01-20T12:00", "noon", ""])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match=r"time zone|isoformat"):
        moment(text)


@pytest.mark.parametrize("value", ["5", None, True, [5], {}])
def test_what_is_no_number(value: Any) -> None:
    with pytest.raises(TypeError, match="is not a number"):
        number(value)
