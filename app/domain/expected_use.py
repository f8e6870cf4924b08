"""What requests would take in hours of other intensities than the present one: a policy is asked, at a few of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from app.domain.arrays import Floats
from app.domain.attribution import Use
from app.domain.directive import L0
from app.domain.policy import Known, Observation, Policy

NODES = 5
"""Intensities for which the policy is asked; between them use is interpolated. Mixes follow the intensity smoothly."""


@dataclass(frozen=True, kw_only=True)
class UseCurve:
    """Mean use of a request of each workload (C), in the order in which they were observed, by intensity."""

    intensity: Floats
    """gCO2eq/kWh, ascending (K)."""
    energy_j: Floats
    """K x C."""
    device_s: Floats
    """K x C."""


def use_curve(policy: Policy, seen: Observation, *, least: float, greatest: float) -> UseCurve:
    """What `policy` would make of requests in hours between these intensities, with all else as it is now.

    Raises:
        InvalidInput, OptimizerFailed: as the policy does.
    """
    nodes = np.unique(np.linspace(least, greatest, NODES))
    mixes = [policy.decide(replace(seen, intensity_g_per_kwh=float(node))).mixes for node in nodes]
    uses = [[mean_use(known, mix[known.workload]) for known in seen.workloads] for mix in mixes]
    return UseCurve(
        intensity=nodes,
        energy_j=np.array([[use.energy_j for use in row] for row in uses]),
        device_s=np.array([[use.device_s for use in row] for row in uses]),
    )


def mean_use(known: Known, mix: Sequence[float]) -> Use:
    """Of a request under a mix; a level that was never measured is taken for L0."""
    uses = [known.uses.get(level, known.uses[L0]) for level in range(len(mix))]
    return Use(
        energy_j=sum(share * use.energy_j for share, use in zip(mix, uses, strict=True)),
        device_s=sum(share * use.device_s for share, use in zip(mix, uses, strict=True)),
    )
