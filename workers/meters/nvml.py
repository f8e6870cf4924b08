"""Energy that NVIDIA GPUs measure themselves."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import pynvml

from app.domain.errors import ConfigurationError
from app.ports import EnergyBasis


class NvmlMeter:
    """The GPUs' own energy counters, summed (Volta and later; they run since the driver was loaded)."""

    def __init__(self, device_indices: Sequence[int] | None = None) -> None:
        """`device_indices` are places among the devices that CUDA_VISIBLE_DEVICES leaves visible; None: all of them.

        Raises:
            ConfigurationError: there is no such GPU, or it has no energy counter.
        """
        try:
            pynvml.nvmlInit()
            visible = _visible_devices()
            self._devices = visible if device_indices is None else [visible[index] for index in device_indices]
            self.energy_j()
        except (pynvml.NVMLError, IndexError) as exc:
            raise ConfigurationError(f"The GPUs' energy cannot be measured ({exc}): use the power model.") from exc
        if not self._devices:
            raise ConfigurationError("No GPU is visible, so none can be measured: use the power model.")

    @staticmethod
    def available(device_indices: Sequence[int] | None = None) -> bool:
        """Whether these GPUs are there and count their energy."""
        try:
            NvmlMeter(device_indices)
        except ConfigurationError:
            return False
        return True

    @property
    def basis(self) -> EnergyBasis:
        return "measured"

    def energy_j(self) -> float:
        millijoules = sum(int(pynvml.nvmlDeviceGetTotalEnergyConsumption(device)) for device in self._devices)
        return millijoules / 1000


def _visible_devices() -> list[Any]:
    """NVML handles in CUDA's order. NVML itself ignores CUDA_VISIBLE_DEVICES, which holds indices or UUIDs; like CUDA,
    stop at the first entry that is neither."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
    handles = []
    for name in (entry.strip() for entry in visible.split(",")):
        if name.isdigit():
            handles.append(pynvml.nvmlDeviceGetHandleByIndex(int(name)))
        elif name.startswith("GPU-"):
            handles.append(pynvml.nvmlDeviceGetHandleByUUID(name))
        else:
            break
    return handles
