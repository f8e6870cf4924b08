"""ORACLE over one zone-month of the replay: full knowledge of every request that is scored, and of nothing later."""

from __future__ import annotations

import numpy as np

from app.domain.arrays import Floats
from app.domain.attribution import Use
from app.domain.footprint import Hardware
from app.domain.oracle import deal
from app.domain.policy import Known, Observation, sprout
from app.domain.preference import from_picks
from app.domain.units import JOULES_PER_KWH
from app.simulation.dataset import Recording
from app.simulation.outcome import Evaluation, Outcome
from app.simulation.replay import Month

SERVICE = "service"


def replay_oracle(month: Month, score: Recording, *, xi: float, hardware: Hardware, requests_per_hour: int) -> Outcome:
    """Solve the paper's programme on the truth of every hour and deal its mix out to the requests that save most."""
    hours, workloads = len(month.traffic), len(score.workloads)
    per_workload = np.bincount(score.workload, minlength=workloads)
    policy = sprout(xi)
    spent, base = np.zeros((hours, workloads)), np.zeros((hours, workloads))
    counts = {name: np.zeros((workloads, 2)) for name in ("picked", "correct")}
    mixes = np.zeros((hours, 1, score.levels))
    for hour, shares in enumerate(month.traffic):
        weights = shares[score.workload] / per_workload[score.workload]
        past = month.past(hour)
        mix = policy.decide(_seen(score, weights, past, hardware)).mixes[SERVICE]
        operational = score.energy_j / JOULES_PER_KWH * hardware.pue * past[-1]
        grams = operational + score.device_s * hardware.embodied_g_per_device_s
        dealt, (first, second) = deal(mix, grams, weights)
        assigned = np.zeros_like(grams)
        assigned[:, first] += 1 - dealt
        assigned[:, second] += dealt

        def by_workload(values: Floats, weights: Floats = weights) -> Floats:
            return np.asarray(np.bincount(score.workload, weights=values * weights, minlength=workloads))

        spent[hour], base[hour] = by_workload((grams * assigned).sum(axis=1)), by_workload(grams[:, 0])
        for name, values in (("picked", score.picked), ("correct", score.checked)):
            counts[name] += np.stack([by_workload((values * assigned).sum(axis=1)), by_workload(values[:, 0])], axis=1)
        mixes[hour, 0] = mix
    return Outcome(
        mixes=mixes,
        served_g=spent.sum(axis=1) * requests_per_hour,
        base_g=base.sum(axis=1) * requests_per_hour,
        evaluation=Evaluation(),
        served_by_workload=np.stack([spent.sum(axis=0), base.sum(axis=0)], axis=1) * requests_per_hour,
        preferred=counts["picked"] * requests_per_hour,
        correct=counts["correct"] * requests_per_hour,
        requests=month.traffic.sum(axis=0) * requests_per_hour,
    )


def _seen(score: Recording, weights: Floats, past: Floats, hardware: Hardware) -> Observation:
    picks = np.bincount(score.pick, weights=weights, minlength=score.levels) * len(score)
    means = zip(weights @ score.energy_j, weights @ score.device_s, strict=True)
    uses = {
        level: Use(energy_j=float(energy_j), device_s=float(device_s))
        for level, (energy_j, device_s) in enumerate(means)
    }
    quality = from_picks(picks.tolist())
    known = Known(workload=SERVICE, floor=SERVICE, share=1.0, uses=uses, quality=quality, latest=quality)
    return Observation(
        intensity_g_per_kwh=float(past[-1]),
        past=past.tolist(),
        workloads=[known],
        levels=score.levels,
        hardware=hardware,
    )
