from __future__ import annotations

from pathlib import Path

import pytest

from app.domain.errors import ConfigurationError
from app.domain.intensity import HOUR
from app.grid.providers import provider
from app.settings import Settings
from tests.support.clock import NOON


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "trace.csv"
    rows = [f"2026-03-02T{hour:02}:00:00Z,DE,{hour}" for hour in range(24)]
    path.write_text("\n".join(["datetime_utc,zone,intensity_g_per_kwh", *rows]))
    return path


def test_a_static_figure_is_the_same_everywhere_and_always() -> None:
    found = provider(Settings(static_intensity=381.0, intensity_basis="direct-average")).fetch("ANY", NOON, NOON + HOUR)
    assert [(point.zone, point.start, point.intensity_g_per_kwh, point.basis, point.provider) for point in found] == [
        ("ANY", NOON, 381.0, "direct-average", "static")
    ]


@pytest.mark.parametrize("repeats", [False, True])
def test_a_trace_of_the_zone(file: Path, repeats: bool) -> None:
    settings = Settings(intensity_provider="trace", trace_file=file, zone="DE", trace_repeats=repeats)
    found = provider(settings)
    (point,) = found.fetch("DE", NOON, NOON + HOUR)
    assert (point.intensity_g_per_kwh, point.basis) == (12.0, "lifecycle-average")
    assert len(found.fetch("DE", NOON + 240 * HOUR, NOON + 241 * HOUR)) == repeats


def test_a_trace_without_the_zone(file: Path) -> None:
    with pytest.raises(ConfigurationError, match="zone WORLD"):
        provider(Settings(intensity_provider="trace", trace_file=file))
