"""Which GPUs are read and in which unit, without a GPU: NVML's C library is replaced, everything above it is real."""

from __future__ import annotations

from collections.abc import Sequence

import pynvml
import pytest

from app.domain.errors import ConfigurationError
from workers.meters.nvml import NvmlMeter


class Driver:
    """Four GPUs; GPU i has used 10**i joules. Handles are their indices."""

    uuids: Sequence[str] = ("GPU-a", "GPU-b", "GPU-c", "GPU-d")

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        for name, function in {
            "nvmlInit": lambda: None,
            "nvmlDeviceGetCount": lambda: len(self.uuids),
            "nvmlDeviceGetHandleByIndex": self.by_index,
            "nvmlDeviceGetHandleByUUID": self.uuids.index,
            "nvmlDeviceGetTotalEnergyConsumption": lambda handle: 1000 * 10**handle,
        }.items():
            monkeypatch.setattr(pynvml, name, function)

    def by_index(self, index: int) -> int:
        if index >= len(self.uuids):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        return index


@pytest.fixture(autouse=True)
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    return Driver(monkeypatch)


def test_all_gpus_are_summed_in_joules() -> None:
    meter = NvmlMeter()
    assert meter.energy_j() == pytest.approx(1111)
    assert meter.basis == "measured"


@pytest.mark.parametrize(
    ("visible", "joules"),
    [("2", 100), ("1,3", 1010), (" 3 , 0", 1001), ("GPU-b,GPU-c", 110), ("0,-1,2", 1)],
)
def test_only_visible_gpus_are_counted(monkeypatch: pytest.MonkeyPatch, visible: str, joules: float) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert NvmlMeter().energy_j() == pytest.approx(joules)


def test_indices_are_places_among_the_visible_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    assert NvmlMeter([0]).energy_j() == pytest.approx(1000)
    assert NvmlMeter([1]).energy_j() == pytest.approx(10)


@pytest.mark.parametrize("visible", ["", "-1", "7", "MIG-1"])
def test_no_usable_gpu_is_not_available(monkeypatch: pytest.MonkeyPatch, visible: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert not NvmlMeter.available()
    with pytest.raises(ConfigurationError, match="power model"):
        NvmlMeter()


def test_a_gpu_that_is_not_there_is_not_available() -> None:
    assert NvmlMeter.available([3])
    assert not NvmlMeter.available([4])


def test_a_gpu_without_a_counter_is_not_available(monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(handle: object) -> int:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    monkeypatch.setattr(pynvml, "nvmlDeviceGetTotalEnergyConsumption", unsupported)
    assert not NvmlMeter.available()


def test_without_the_driver_it_is_not_available(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", missing)
    assert not NvmlMeter.available()
