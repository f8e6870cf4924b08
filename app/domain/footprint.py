"""Footprint = operational + embodied, in gCO2eq (equation 1 of the paper)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.domain.arrays import Floats
from app.domain.units import JOULES_PER_KWH, kwh

PAPER_EMBODIED_G = 26_356.568
PAPER_LIFETIME_S = 5 * 365 * 24 * 3600.0
"""Embodied carbon of one A100 and its five-year lifetime, from the authors' published code."""


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """gCO2eq, never negative."""

    operational_g: float
    embodied_g: float

    @property
    def total_g(self) -> float:
        return self.operational_g + self.embodied_g


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """What pricing needs to know about the machine."""

    pue: float = 1.0
    """Power usage effectiveness of the site, at least 1."""
    embodied_g: float = PAPER_EMBODIED_G
    """gCO2eq emitted to make one device."""
    lifetime_s: float = PAPER_LIFETIME_S

    @property
    def embodied_g_per_device_s(self) -> float:
        return self.embodied_g / self.lifetime_s

    def emitted_g(self, energy_j: Floats, device_s: Floats, intensity_g_per_kwh: Floats) -> Floats:
        """Operational and embodied together, element by element."""
        operational = energy_j / JOULES_PER_KWH * self.pue * intensity_g_per_kwh
        return np.asarray(operational + device_s * self.embodied_g_per_device_s)

    def above_idle_g(self, energy_j: Floats, device_s: Floats, intensity_g_per_kwh: Floats, *, idle_w: float) -> Floats:
        """What the choice of an hour decides, element by element: the energy above that of a machine of `idle_w`, which
        idles if nothing runs. Embodied carbon is reserved whether or not it works."""
        above_j = np.maximum(energy_j - idle_w * device_s, 0.0)
        return np.asarray(above_j / JOULES_PER_KWH * self.pue * intensity_g_per_kwh)

    def price(self, *, energy_j: float, device_s: float, intensity_g_per_kwh: float) -> Footprint:
        """Operational = energy x PUE x intensity; embodied = attributed device-seconds / lifetime x embodied carbon."""
        return Footprint(
            operational_g=kwh(energy_j) * self.pue * intensity_g_per_kwh,
            embodied_g=device_s * self.embodied_g_per_device_s,
        )
