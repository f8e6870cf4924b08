from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.domain.errors import ConfigurationError
from app.domain.intensity import HOUR, IntensityPoint, IntensityTrace
from app.grid.trace import TraceProvider, read_trace
from tests.support.clock import NOON

HEADER = "datetime_utc,zone,intensity_g_per_kwh"
MIDNIGHT = datetime(2026, 3, 2, tzinfo=UTC)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "trace.csv"


def write(file: Path, *rows: str, header: str = HEADER) -> Path:
    file.write_text("\n".join((header, *rows)) + "\n", encoding="utf-8")
    return file


def read(file: Path, zone: str = "DE") -> IntensityTrace:
    return read_trace(file, zone=zone, basis="direct-average")


def refusal(file: Path) -> str:
    with pytest.raises(ConfigurationError) as raised:
        read(file)
    assert str(file) in raised.value.message
    return raised.value.message


def test_the_rows_of_one_zone(file: Path) -> None:
    write(
        file,
        "2026-03-02T00:00:00Z,DE,245.5",
        "2026-03-02T00:00:00Z,FR,30",
        "2026-03-02T01:00:00+00:00,DE,300",
        "2026-03-02T03:00Z,DE,1e2",
    )
    points = read(file).points
    assert points[0] == IntensityPoint(
        zone="DE", start=MIDNIGHT, intensity_g_per_kwh=245.5, basis="direct-average", provider="trace"
    )
    assert [(point.start - MIDNIGHT) // HOUR for point in points] == [0, 1, 3]
    assert [point.intensity_g_per_kwh for point in points] == [245.5, 300, 100]


def test_the_example_of_the_project_can_be_read() -> None:
    example = Path(__file__).parents[4] / "examples" / "intensity.csv"
    zone = example.read_text().splitlines()[1].split(",")[1]
    assert len(read(example, zone).points) >= 24


@pytest.mark.parametrize("header", ["", "time,zone,grams", "zone,datetime_utc,intensity_g_per_kwh", HEADER + ",note"])
def test_other_columns_are_refused(file: Path, header: str) -> None:
    assert f"the first line must be {HEADER}" in refusal(write(file, header=header))


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("yesterday,DE,5", "Invalid isoformat string"),
        (",DE,5", "Invalid isoformat string"),
        ("2026-03-02T01:00:00,DE,5", "is not a UTC time"),
        ("2026-03-02T01:00:00+01:00,DE,5", "is not a UTC time"),
        ("2026-03-02T01:00:00Z,DE,much", "could not convert"),
        ("2026-03-02T01:00:00Z,DE,", "could not convert"),
        ("2026-03-02T01:00:00Z,DE", ""),
        ("2026-03-02T01:00:00Z", ""),
        ("2026-03-02T01:00:00Z,DE,-1", "outside 0 to 10000"),
        ("2026-03-02T01:00:00Z,DE,nan", "outside 0 to 10000"),
        ("2026-03-02T01:00:00Z,FR,99999", "outside 0 to 10000"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(file: Path, row: str, fault: str) -> None:
    message = refusal(write(file, "2026-03-02T00:00:00Z,DE,100", row))
    assert re.search(rf"line 3: .*{fault}.*; a row reads 2026-03-02T00:00:00Z,ZONE,245.5", message)


def test_rows_must_ascend(file: Path) -> None:
    message = refusal(write(file, "2026-03-02T01:00:00Z,DE,1", "2026-03-02T00:00:00Z,DE,1"))
    assert "zone DE: The intensity trace is not ascending at 2026-03-02T00:00:00+00:00: sort it" in message


def test_a_zone_that_does_not_occur(file: Path) -> None:
    assert "has no row of zone DE, only of FR: set SPROUT_ZONE" in refusal(write(file, "2026-03-02T00:00:00Z,FR,1"))


def test_a_file_that_is_not_there_or_no_text(file: Path) -> None:
    assert "cannot be read" in refusal(file)
    file.write_bytes(HEADER.encode() + b"\n\xff\xfe\n")
    assert "cannot be read" in refusal(file)
    assert "cannot be read" in refusal(file.parent)


def trace(*hours: float, grams: float = 100.0, start: datetime = MIDNIGHT) -> IntensityTrace:
    return IntensityTrace(
        IntensityPoint(
            zone="DE", start=start + hour * HOUR, intensity_g_per_kwh=grams + hour, basis="b", provider="trace"
        )
        for hour in hours
    )


def figures(provider: TraceProvider, start: datetime, hours: int) -> dict[int, float]:
    """By hour from `start`."""
    found = provider.fetch("DE", start, start + hours * HOUR)
    return {(point.start - start) // HOUR: point.intensity_g_per_kwh for point in found}


def test_rows_finer_than_an_hour_are_averaged_over_it() -> None:
    provider = TraceProvider(trace(0, 0.25, 0.5, 0.75, 1, 2.5))
    assert figures(provider, MIDNIGHT, 4) == {0: 100.375, 1: 101, 2: 102.5}


def test_without_repeats_nothing_is_known_outside() -> None:
    provider = TraceProvider(trace(*range(24)))
    assert figures(provider, MIDNIGHT + timedelta(days=1), 24) == {}
    assert figures(provider, MIDNIGHT - timedelta(days=1), 24) == {}


@pytest.mark.parametrize("days", [-800, -1, 0, 1, 2, 365, 3000])
def test_a_day_that_repeats_is_the_same_every_day(days: int) -> None:
    provider = TraceProvider(trace(*range(24)), repeats=True)
    found = figures(provider, MIDNIGHT + timedelta(days=days), 24)
    assert found == {hour: 100 + hour for hour in range(24)}


def test_whole_days_repeat_and_the_rest_is_left_out() -> None:
    provider = TraceProvider(trace(*range(60)), repeats=True)  # two days and a half
    assert figures(provider, MIDNIGHT, 96) == {hour: 100 + hour % 48 for hour in range(96)}


def test_the_hour_of_the_day_is_kept_from_any_start() -> None:
    provider = TraceProvider(trace(*range(24), start=NOON), repeats=True)
    assert figures(provider, MIDNIGHT, 24) == {hour: 100 + (hour - 12) % 24 for hour in range(24)}


def test_a_gap_repeats_as_a_gap() -> None:
    provider = TraceProvider(trace(*(hour for hour in range(24) if hour != 5)), repeats=True)
    assert set(range(72)) - set(figures(provider, MIDNIGHT, 72)) == {5, 29, 53}


def test_less_than_a_day_cannot_repeat() -> None:
    TraceProvider(trace(*range(23)))
    with pytest.raises(ConfigurationError, match="needs at least one whole day"):
        TraceProvider(trace(*range(23)), repeats=True)


def test_points_of_a_repeated_trace_say_so() -> None:
    assert TraceProvider(trace(*range(24)), repeats=True).name == "trace, repeated"
    assert TraceProvider(trace(*range(24))).name == "trace"
