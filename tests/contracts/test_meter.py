"""What every `Meter` does."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app.ports import Meter
from tests.support.powercap import Powercap
from tests.support.waiting import eventually
from workers.meters.nvml import NvmlMeter
from workers.meters.power_model import PowerModelMeter
from workers.meters.rapl import RaplMeter


def nvml() -> Meter:
    if not NvmlMeter.available():
        pytest.skip("no NVIDIA GPU with an energy counter")
    return NvmlMeter()


def power_model() -> Meter:
    return PowerModelMeter(50, 100, time.process_time)


class SpendingRapl(RaplMeter):
    """On a folder of a test, whose counter follows the clock at 50 W."""

    def __init__(self) -> None:
        self._powercap = Powercap(Path(tempfile.mkdtemp()))
        self._powercap.add("intel-rapl:0", "package-0")
        self._read_at = time.monotonic()
        super().__init__(self._powercap.root)

    def energy_j(self) -> float:
        now = time.monotonic()
        self._powercap.spend("intel-rapl:0", 50 * (now - self._read_at))
        self._read_at = now
        return super().energy_j()


@pytest.fixture(params=[power_model, SpendingRapl, pytest.param(nvml, marks=pytest.mark.gpu)])
def meter(request: pytest.FixtureRequest) -> Meter:
    build: Callable[[], Meter] = request.param
    return build()


def test_the_basis_says_where_joules_come_from(meter: Meter) -> None:
    assert meter.basis in ("measured", "modelled")


def test_energy_grows_while_time_passes(meter: Meter) -> None:
    before = meter.energy_j()
    eventually(lambda: meter.energy_j() > before)


def test_energy_never_falls(meter: Meter) -> None:
    readings = [meter.energy_j() for _ in range(200)]
    assert readings == sorted(readings)


def test_energy_is_in_joules(meter: Meter) -> None:
    """Any machine draws more than 1 W and less than 100 kW."""
    started, before = time.monotonic(), meter.energy_j()
    eventually(lambda: time.monotonic() - started >= 0.5)
    power_w = (meter.energy_j() - before) / (time.monotonic() - started)
    assert 1 < power_w < 100_000
