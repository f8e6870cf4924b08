"""MODEL_OPT over one zone-month: a smaller model answers a share of the requests, all of them at L0."""

from __future__ import annotations

import numpy as np

from app.domain.attribution import Use
from app.domain.policy import Known, ModelOpt, Observation
from app.domain.units import JOULES_PER_KWH
from app.simulation.dataset import ModelMeans, Recording
from app.simulation.outcome import Evaluation, Outcome
from app.simulation.published import RELATIVE_QUALITY
from app.simulation.replay import Conditions, Month

SERVICE = "service"


def replay_small_model(month: Month, means: ModelMeans, score: Recording, xi: float, conditions: Conditions) -> Outcome:
    """Mean energies over all measured requests. What the smaller model's answers are worth was not measured: the share
    that it gets rests on the ratio that the published savings imply."""
    policy = ModelOpt(xi=xi, relative_quality=RELATIVE_QUALITY)
    energy_j = np.stack([means.energy_j[:, 0], means.small_energy_j], axis=1)
    device_s = np.stack([means.device_s[:, 0], means.small_device_s], axis=1)
    hardware, hours = conditions.hardware, len(month.traffic)
    mixes = np.zeros((hours, 1, 2))
    for hour, shares in enumerate(month.traffic):
        past = month.past(hour)
        uses = {
            model: Use(energy_j=float(shares @ energy_j[:, model]), device_s=float(shares @ device_s[:, model]))
            for model in (0, 1)
        }
        known = Known(workload=SERVICE, floor=SERVICE, share=1.0, uses=uses, quality=None)
        seen = Observation(
            intensity_g_per_kwh=float(past[-1]), past=past.tolist(), workloads=[known], levels=2, hardware=hardware
        )
        mixes[hour, 0] = policy.decide(seen).mixes[SERVICE]
    per_request = energy_j / JOULES_PER_KWH * hardware.pue * month.now[:, None, None]
    per_request = per_request + device_s * hardware.embodied_g_per_device_s
    requests = month.traffic * conditions.requests_per_hour
    spent, base = requests * (per_request * mixes).sum(axis=2), requests * per_request[:, :, 0]
    unknown = np.full((len(score.workloads), 2), np.nan)
    return Outcome(
        mixes=mixes,
        served_g=spent.sum(axis=1),
        base_g=base.sum(axis=1),
        evaluation=Evaluation(),
        served_by_workload=np.stack([spent.sum(axis=0), base.sum(axis=0)], axis=1),
        preferred=unknown,
        correct=unknown,
        requests=requests.sum(axis=0),
    )
