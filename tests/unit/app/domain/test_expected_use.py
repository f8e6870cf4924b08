"""What requests would take in hours of other intensities."""

from __future__ import annotations

import pytest

from app.domain.attribution import Use
from app.domain.expected_use import NODES, mean_use, use_curve
from app.domain.footprint import Hardware
from app.domain.policy import Decision, Known, Observation

USES = {0: Use(energy_j=100.0, device_s=10.0), 1: Use(energy_j=40.0, device_s=4.0)}
KNOWN = Known(workload="mail", floor="mail", share=1.0, uses=USES, quality=None)


class Dirty:
    """Brief answers in proportion to the intensity, from 0 to 400."""

    name = "DIRTY"

    def decide(self, seen: Observation) -> Decision:
        brief = seen.intensity_g_per_kwh / 400
        return Decision(mixes={known.workload: (1 - brief, brief) for known in seen.workloads})


def curve(least: float, greatest: float) -> tuple[list[float], list[list[float]]]:
    seen = Observation(intensity_g_per_kwh=200.0, past=[200.0], workloads=[KNOWN], levels=2, hardware=Hardware())
    found = use_curve(Dirty(), seen, least=least, greatest=greatest)
    return found.intensity.tolist(), [found.energy_j[:, 0].tolist(), found.device_s[:, 0].tolist()]


def test_the_policy_is_asked_from_the_least_to_the_greatest() -> None:
    intensity, (energy_j, device_s) = curve(0.0, 400.0)
    assert intensity == [0.0, 100.0, 200.0, 300.0, 400.0]
    assert len(intensity) == NODES
    assert energy_j == pytest.approx([100.0, 85.0, 70.0, 55.0, 40.0])
    assert device_s == pytest.approx([10.0, 8.5, 7.0, 5.5, 4.0])


def test_where_nothing_varies_it_is_asked_once() -> None:
    assert curve(100.0, 100.0)[0] == [100.0]


def test_a_level_that_was_never_measured_is_taken_for_l0() -> None:
    assert mean_use(KNOWN, (0.5, 0.25, 0.25)) == Use(energy_j=85.0, device_s=8.5)
