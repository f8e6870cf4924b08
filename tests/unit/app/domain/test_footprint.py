from __future__ import annotations

import pytest

from app.domain.footprint import PAPER_EMBODIED_G, PAPER_LIFETIME_S, Footprint, Hardware


def test_a_kilowatt_hour_and_a_year_of_an_a100() -> None:
    price = Hardware().price(energy_j=3_600_000, device_s=365 * 24 * 3600, intensity_g_per_kwh=250)
    assert price.operational_g == pytest.approx(250)
    assert price.embodied_g == pytest.approx(26_356.568 / 5)
    assert price.total_g == pytest.approx(5521.3136)


def test_a_request_by_hand() -> None:
    # 335.5 mWh in 4.857 device-seconds at 400 g/kWh and a PUE of 1.2; 60 kg over four years.
    hardware = Hardware(pue=1.2, embodied_g=60_000, lifetime_s=4 * 365 * 86_400)
    price = hardware.price(energy_j=0.3355 * 3600, device_s=4.857, intensity_g_per_kwh=400)
    assert price.operational_g == pytest.approx(0.3355e-3 * 1.2 * 400)
    assert price.embodied_g == pytest.approx(4.857 / 126_144_000 * 60_000)


def test_constants_of_the_published_code() -> None:
    assert (PAPER_EMBODIED_G, PAPER_LIFETIME_S) == (26_356.568, 157_680_000)
    assert Hardware().pue == 1.0


def test_nothing_used_costs_nothing() -> None:
    assert Hardware().price(energy_j=0, device_s=0, intensity_g_per_kwh=900) == Footprint(operational_g=0, embodied_g=0)
