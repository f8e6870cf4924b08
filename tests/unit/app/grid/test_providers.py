from __future__ import annotations

from pathlib import Path

import pytest

from app.domain.errors import ConfigurationError, IntensityUnavailable
from app.domain.intensity import HOUR, Basis
from app.grid.electricity_maps import ElectricityMapsProvider
from app.grid.providers import provider
from app.grid.uk import UkProvider
from app.grid.watttime import WattTimeProvider
from app.settings import Settings
from tests.support.clock import NOON
from tests.support.grid_server import GridServer, Response


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


def test_a_trace_of_several_zones(file: Path) -> None:
    file.write_text(file.read_text() + "".join(f"\n2026-03-02T{hour:02}:30:00Z,FR,{hour + 50}" for hour in range(24)))
    settings = Settings(intensity_provider="trace", trace_file=file, zone="FR", zones=("DE", "FR"))
    found = provider(settings)
    figures = {zone: found.fetch(zone, NOON, NOON + HOUR)[0].intensity_g_per_kwh for zone in ("DE", "FR")}
    assert figures == {"DE": 12, "FR": 62}
    with pytest.raises(
        IntensityUnavailable, match="of the zones DE, FR, not ES: set SPROUT_ZONE, or name it in SPROUT"
    ):
        found.fetch("ES", NOON, NOON + HOUR)
    with pytest.raises(ConfigurationError, match="no row of zone ES, only of DE, FR: set SPROUT_ZONE or SPROUT_ZONES"):
        provider(Settings(intensity_provider="trace", trace_file=file, zone="DE", zones=("DE", "ES")))


def test_every_source_on_the_network_is_built_from_its_settings() -> None:
    maps = provider(Settings(intensity_provider="electricity_maps", electricity_maps_token="letmein", zone="DE"))
    direct = Settings(
        intensity_provider="electricity_maps", electricity_maps_token="letmein", intensity_basis="direct-average"
    )
    watttime = provider(Settings(intensity_provider="watttime", watttime_user="ann", watttime_password="hunter2"))
    uk = provider(Settings(intensity_provider="uk", zone="GB"))
    assert isinstance(maps, ElectricityMapsProvider)
    assert isinstance(watttime, WattTimeProvider)
    assert isinstance(uk, UkProvider)
    assert [found.basis for found in (maps, provider(direct), watttime, uk)] == [
        Basis.LIFECYCLE_AVERAGE,
        Basis.DIRECT_AVERAGE,
        Basis.DIRECT_MARGINAL,
        Basis.DIRECT_AVERAGE,
    ]


@pytest.mark.parametrize("name", ["electricity_maps", "watttime", "uk"])
def test_another_base_url(name: str) -> None:
    secrets = {"electricity_maps_token": "letmein", "watttime_user": "ann", "watttime_password": "hunter2"}
    with GridServer(lambda request: Response(status=418)) as server:
        settings = Settings(intensity_provider=name, intensity_url=f"{server.url}/proxy", zone="GB", **secrets)
        with pytest.raises(IntensityUnavailable, match="status 418: check SPROUT_INTENSITY_URL"):
            provider(settings).fetch("GB", NOON - HOUR, NOON)
        assert all(path.startswith("/proxy/") for path in server.paths)
        with pytest.raises(ConfigurationError, match="SPROUT_INTENSITY_URL is no base URL"):
            provider(settings.model_copy(update={"intensity_url": "grid.example.org"}))
