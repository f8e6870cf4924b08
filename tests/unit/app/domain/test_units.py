from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import InvalidInput
from app.domain.units import hour_of, kwh, require_utc


def test_a_kilowatt_hour_has_3_6_megajoules() -> None:
    assert kwh(3_600_000) == 1.0
    assert kwh(36) == pytest.approx(1e-5)


def test_a_utc_time_is_handed_back_as_it_is() -> None:
    moment = datetime(2026, 3, 2, 12, 34, tzinfo=UTC)
    assert require_utc(moment) is moment


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2026, 3, 2),  # noqa: DTZ001
        datetime(2026, 3, 2, tzinfo=timezone(timedelta(hours=1))),
        datetime(2026, 7, 2, tzinfo=ZoneInfo("Europe/London")),
    ],
)
def test_other_times_are_refused(moment: datetime) -> None:
    for function in (require_utc, hour_of):
        with pytest.raises(InvalidInput, match="is not a UTC time: write it with a Z"):
            function(moment)


@given(st.datetimes(timezones=st.just(UTC)))
def test_the_hour_of_a_moment_contains_it(moment: datetime) -> None:
    hour = hour_of(moment)
    assert timedelta(0) <= moment - hour < timedelta(hours=1)
    assert (hour.minute, hour.second, hour.microsecond, hour.tzinfo) == (0, 0, 0, UTC)
    assert hour_of(hour) == hour
