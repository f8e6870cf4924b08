"""The machines of a replay, and the carbon of what they do and of waiting for work."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from app.domain.arrays import Floats
from app.domain.footprint import Hardware
from app.domain.work import S_PER_H

IDLE_W = 80.0
"""Of an A100 whose engine waits with a model loaded, an assumption put together from two sources: 52 to 54 W without a
process (nvidia-smi's log of four A100-SXM4-40GB, huggingface.co/spaces/seawolf2357/PLUS_Lab_GPUs), and 26 to 50 W more
once a CUDA context is open (arXiv:2605.23918). At work the paper's drew 249 W."""


@dataclass(frozen=True, kw_only=True)
class Site:
    devices: float
    idle_w: float = IDLE_W
    """Of a device that does nothing."""
    hardware: Hardware = field(default_factory=Hardware)

    def cost_g(self, energy_j: Floats, device_s: Floats, intensity: Floats) -> Floats:
        """What the choice of the hour decides, as in service."""
        return self.hardware.above_idle_g(energy_j, device_s, intensity, idle_w=self.idle_w)

    def attributed_g(self, energy_j: Floats, device_s: Floats, intensity: Floats) -> float:
        """What the ledger has of an hour's work each: its energy, and the embodied carbon of its device-seconds."""
        return float(self.hardware.emitted_g(energy_j, device_s, intensity).sum())

    def total_g(self, energy_j: Floats, device_s: Floats, intensity: Floats) -> float:
        """All that the machines emit in these hours: at work and idle, with the embodied carbon of all their time."""
        reserved_s = np.full(len(intensity), self.devices * S_PER_H)
        idle_j = self.idle_w * np.maximum(reserved_s - device_s, 0.0)
        return self.attributed_g(energy_j + idle_j, reserved_s, intensity)
