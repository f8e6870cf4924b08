"""RAPL's counters, on a folder that looks like /sys/class/powercap."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.domain.errors import ConfigurationError
from tests.support.powercap import RANGE_UJ, Powercap
from workers.meters.rapl import RaplMeter


@pytest.fixture
def powercap(tmp_path: Path) -> Powercap:
    return Powercap(tmp_path)


def test_packages_and_memory_are_summed_and_what_they_contain_is_not(powercap: Powercap) -> None:
    for zone, name in [
        ("intel-rapl:0", "package-0"),
        ("intel-rapl:0:0", "core"),
        ("intel-rapl:0:1", "dram"),
        ("intel-rapl:1", "package-1"),
        ("intel-rapl:2", "psys"),
        ("intel-rapl-mmio:0", "package-0"),
    ]:
        powercap.add(zone, name, uj=5_000_000)
    meter = RaplMeter(powercap.root)
    assert meter.energy_j() == 0
    for zone, joules in [("0", 1), ("0:0", 10), ("0:1", 100), ("1", 1000), ("2", 10_000)]:
        powercap.spend(f"intel-rapl:{zone}", joules)
    powercap.spend("intel-rapl-mmio:0", 100_000)
    assert meter.energy_j() == pytest.approx(1101)
    assert meter.basis == "measured"


def test_a_counter_that_wraps_goes_on(powercap: Powercap) -> None:
    powercap.add("intel-rapl:0", "package-0", uj=RANGE_UJ - 3_000_000)
    meter = RaplMeter(powercap.root)
    for total_j in (2, 4, 6):
        powercap.spend("intel-rapl:0", 2)
        assert meter.energy_j() == pytest.approx(total_j)


def test_counters_for_root_only_name_the_remedy(powercap: Powercap, monkeypatch: pytest.MonkeyPatch) -> None:
    powercap.add("intel-rapl:0", "package-0")
    read = Path.read_text

    def guarded(path: Path) -> str:
        """What another user than root meets; the tests may run as root."""
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_text", guarded)
    with pytest.raises(ConfigurationError, match=r"energy_uj can be read by root only: run `chmod a\+r`"):
        RaplMeter(powercap.root)
    assert not RaplMeter.available(powercap.root)


@pytest.mark.parametrize("broken", ["", "many"])
def test_counters_that_hold_no_number_are_refused(powercap: Powercap, broken: str) -> None:
    powercap.add("intel-rapl:0", "package-0")
    (powercap.root / "intel-rapl:0" / "energy_uj").write_text(broken)
    with pytest.raises(ConfigurationError, match="SPROUT_METER=model"):
        RaplMeter(powercap.root)


def test_a_machine_without_counters_is_told(powercap: Powercap) -> None:
    assert not RaplMeter.available(powercap.root / "nowhere")
    powercap.add("intel-rapl:0", "psys")
    with pytest.raises(ConfigurationError, match="shows no RAPL counter"):
        RaplMeter(powercap.root)
