from __future__ import annotations

from dataclasses import dataclass

import pytest

from app.domain.errors import ConfigurationError
from workers.meters.power_model import PowerModelMeter


@dataclass
class Machine:
    now: float = 1000.0
    busy: float = 300.0


@pytest.fixture
def machine() -> Machine:
    return Machine()


def meter(machine: Machine) -> PowerModelMeter:
    return PowerModelMeter(40, 100, lambda: machine.busy, clock=lambda: machine.now)


def test_an_idle_machine_draws_its_idle_power(machine: Machine) -> None:
    measured = meter(machine)
    machine.now += 10
    assert measured.energy_j() == pytest.approx(400)


def test_a_busy_machine_draws_its_busy_power(machine: Machine) -> None:
    measured = meter(machine)
    machine.now += 10
    machine.busy += 10
    assert measured.energy_j() == pytest.approx(1000)


def test_half_a_load_is_half_way(machine: Machine) -> None:
    measured = meter(machine)
    machine.now += 10
    machine.busy += 5
    assert measured.energy_j() == pytest.approx(700)


def test_what_happened_before_the_meter_is_not_counted(machine: Machine) -> None:
    assert meter(machine).energy_j() == 0


@pytest.mark.parametrize(("idle_w", "busy_w"), [(-1, 10), (10, 9), (float("nan"), 10)])
def test_an_impossible_power_is_refused(idle_w: float, busy_w: float) -> None:
    with pytest.raises(ConfigurationError, match="power model"):
        PowerModelMeter(idle_w, busy_w, lambda: 0.0)
