from __future__ import annotations

import bisect
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import IntensityUnavailable, InvalidInput
from app.domain.intensity import HOUR, IntensityPoint, IntensityTrace
from tests.support.clock import NOON


def point(hours: float, grams: float = 100.0, zone: str = "DE", basis: str = "lifecycle-average") -> IntensityPoint:
    start = NOON + timedelta(hours=hours)
    return IntensityPoint(zone=zone, start=start, intensity_g_per_kwh=grams, basis=basis, provider="test")


@pytest.mark.parametrize("grams", [0.0, 0.5, 9999.9])
def test_plausible_intensities(grams: float) -> None:
    assert point(0, grams).intensity_g_per_kwh == grams


@pytest.mark.parametrize("grams", [-0.1, 10_000, float("nan"), float("inf"), float("-inf")])
def test_implausible_intensities_are_refused(grams: float) -> None:
    with pytest.raises(InvalidInput, match="zone DE is outside 0 to 10000: check the unit"):
        point(0, grams)


@pytest.mark.parametrize("start", [datetime(2026, 3, 2), datetime(2026, 3, 2, tzinfo=timezone(HOUR))])  # noqa: DTZ001
def test_a_point_starts_at_a_utc_time(start: datetime) -> None:
    with pytest.raises(InvalidInput, match="is not a UTC time"):
        IntensityPoint(zone="DE", start=start, intensity_g_per_kwh=1, basis="b", provider="p")


def test_an_hour_is_valid_from_its_start_to_just_before_its_end() -> None:
    trace = IntensityTrace([point(0, 100), point(1, 200)])
    assert trace.at(NOON).intensity_g_per_kwh == 100
    assert trace.at(NOON + HOUR - timedelta(microseconds=1)).intensity_g_per_kwh == 100
    assert trace.at(NOON + HOUR).intensity_g_per_kwh == 200


def test_rows_finer_than_an_hour_end_at_the_next_one() -> None:
    trace = IntensityTrace([point(0, 100), point(0.25, 200), point(0.5, 300)])
    assert [trace.at(NOON + timedelta(minutes=m)).intensity_g_per_kwh for m in (14, 15, 29, 30, 89)] == [
        100, 200, 200, 300, 300,
    ]  # fmt: skip


@pytest.mark.parametrize("hours", [-100, -0.001, 1, 1.5, 2.99, 4, 1000])
def test_before_after_and_in_a_gap_nothing_is_known(hours: float) -> None:
    trace = IntensityTrace([point(0), point(3)])
    with pytest.raises(IntensityUnavailable, match=r"zone DE has no value for .*12:00:00\+00:00 to .*16:00:00\+00:00"):
        trace.at(NOON + timedelta(hours=hours))


def test_a_lookup_needs_a_utc_time() -> None:
    trace = IntensityTrace([point(0)])
    for moment in (NOON.replace(tzinfo=None), NOON.astimezone(timezone(2 * HOUR))):
        with pytest.raises(InvalidInput, match="is not a UTC time"):
            trace.at(moment)
        with pytest.raises(InvalidInput, match="is not a UTC time"):
            trace.between(NOON, moment)
        with pytest.raises(InvalidInput, match="is not a UTC time"):
            trace.between(moment, NOON)


def test_between_takes_the_start_and_leaves_the_end() -> None:
    trace = IntensityTrace([point(hours) for hours in (0, 1, 4, 5)])
    found = trace.between(NOON + HOUR, NOON + 5 * HOUR)
    assert [point.start for point in found] == [NOON + HOUR, NOON + 4 * HOUR]
    assert trace.between(NOON + 5 * HOUR, NOON) == ()


def test_a_trace_needs_rows() -> None:
    with pytest.raises(InvalidInput, match="empty: it needs at least one row"):
        IntensityTrace([])


@pytest.mark.parametrize("later", [0, -1])
def test_a_trace_is_ascending(later: float) -> None:
    with pytest.raises(InvalidInput, match=r"not ascending at .*: sort it by time"):
        IntensityTrace([point(0), point(later)])


@pytest.mark.parametrize("other", [point(1, zone="FR"), point(1, basis="direct-average")])
def test_a_trace_is_of_one_zone_and_basis(other: IntensityPoint) -> None:
    with pytest.raises(InvalidInput, match="one zone and one accounting basis"):
        IntensityTrace([point(0), other])


@given(st.lists(st.integers(0, 60), min_size=1, unique=True), st.integers(-10 * 60, 75 * 60))
def test_a_lookup_finds_what_a_search_by_hand_does(hours: list[int], minutes: int) -> None:
    starts = sorted(hours)
    trace = IntensityTrace([point(hour, hour) for hour in starts])
    moment = NOON + timedelta(minutes=minutes)
    if minutes // 60 in starts:
        assert trace.at(moment).intensity_g_per_kwh == starts[bisect.bisect_right(starts, minutes / 60) - 1]
    else:
        with pytest.raises(IntensityUnavailable):
            trace.at(moment)


def test_utc_by_any_name() -> None:
    assert IntensityTrace([point(0)]).at(NOON.astimezone(timezone(timedelta(0), "GMT"))).start == NOON.astimezone(UTC)
