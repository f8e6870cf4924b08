"""What every source of carbon intensity promises."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from itertools import pairwise

import pytest

from app.domain.errors import IntensityUnavailable, InvalidInput
from app.domain.intensity import HOUR, IntensityPoint, IntensityTrace
from app.grid.static import StaticProvider
from app.grid.trace import TraceProvider
from app.ports import IntensityProvider
from tests.support.clock import NOON

ZONE = "DE"
BASIS = "lifecycle-average"
GAP = 30


@dataclass(frozen=True)
class Case:
    provider: IntensityProvider
    knows_every_zone: bool = False
    knows_every_hour: bool = False


def trace() -> IntensityTrace:
    """Three days from noon on, with one hour missing."""
    return IntensityTrace(
        IntensityPoint(
            zone=ZONE, start=NOON + hour * HOUR, intensity_g_per_kwh=100.0 + hour, basis=BASIS, provider="trace"
        )
        for hour in range(72)
        if hour != GAP
    )


@pytest.fixture(params=["static", "trace", "trace, repeated"])
def case(request: pytest.FixtureRequest) -> Case:
    if request.param == "static":
        return Case(StaticProvider(480.0, basis=BASIS), knows_every_zone=True, knows_every_hour=True)
    return Case(TraceProvider(trace(), repeats=request.param == "trace, repeated"))


def fetch(case: Case, start: float, end: float) -> Sequence[IntensityPoint]:
    """Hours counted from noon."""
    return case.provider.fetch(ZONE, NOON + start * HOUR, NOON + end * HOUR)


def test_it_has_a_name_that_its_points_carry(case: Case) -> None:
    assert case.provider.name
    assert {point.provider for point in fetch(case, 0, 5)} == {case.provider.name}


def test_points_are_of_the_zone_and_of_one_basis(case: Case) -> None:
    assert {(point.zone, point.basis) for point in fetch(case, 0, 72)} == {(ZONE, BASIS)}


def test_known_hours_come_once_each_and_ascending(case: Case) -> None:
    starts = [point.start for point in fetch(case, 0, 24)]
    assert starts == [NOON + hour * HOUR for hour in range(24)]


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
    else:
        with pytest.raises(IntensityUnavailable, match="zone DE, not FR: set SPROUT_ZONE=DE"):
            case.provider.fetch("FR", NOON, NOON + HOUR)


@pytest.mark.parametrize("start", [NOON.replace(tzinfo=None), NOON.astimezone(timezone(timedelta(hours=2)))])
def test_questions_are_in_utc(case: Case, start: datetime) -> None:
    with pytest.raises(InvalidInput, match="is not a UTC time"):
        case.provider.fetch(ZONE, start, NOON + HOUR)
