"""What a worker has in hand of a round of evaluation: a few samples, their answers, and what these have used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app.domain.attribution import Use
from app.domain.directive import L0
from app.domain.endpoints import ENDPOINTS
from app.services import deployment, intensity
from app.services.context import Context
from app.services.generation import Worker
from app.store import samples
from app.store.ids import new_id
from app.store.samples import Sample

AT_ONCE = 8
"""Samples of a stint: few enough that batch work waits for no more than one answer."""

FIRST = 2
"""Samples of a round's first stint: what one takes is only known after it."""

WAIT_S = 1.0
"""How often a stint looks up."""


@dataclass(kw_only=True)
class Stint:
    round_id: str
    lease_id: str
    samples: Sequence[Sample]
    fingerprints: Mapping[str, str]
    """By workload."""
    answers: dict[str, dict[int, str]] = field(default_factory=dict)
    """By sample, by level; one that was served under the present directives is there already."""
    faults: dict[str, str] = field(default_factory=dict)
    """By sample."""

    def __post_init__(self) -> None:
        for sample in self.samples:
            present = self.fingerprints[sample.workload]
            known = dict(sample.answers) if sample.fingerprint == present else {}
            if sample.served_fingerprint == present:
                known.setdefault(sample.level, ENDPOINTS[sample.endpoint].answer(sample.served))
            self.answers[sample.key] = known

    @property
    def tenant(self) -> str:
        """Whose prompts they are: a round has those of one tenant. There is at least one."""
        return self.samples[0].tenant_id

    @property
    def answered(self) -> Sequence[Sample]:
        """Samples that can be judged."""
        return [sample for sample in self.samples if sample.key not in self.faults and L0 in self.answers[sample.key]]


def take(context: Context, round_id: str, *, limit: int) -> Stint:
    """Lease the next samples of a round, at most `limit`; none if none is left."""
    settings, lease_id = context.settings, new_id("lease_")
    with context.database.transaction() as connection:
        leased = samples.lease(
            connection, round_id, lease_id=lease_id, limit=limit, now=context.clock.now(), duration=settings.lease
        )
        of = deployment.fingerprints(connection, settings, settings.served_name)
        return Stint(
            round_id=round_id,
            lease_id=lease_id,
            samples=leased,
            fingerprints={sample.workload: of(sample.workload) for sample in leased},
        )


def renew(context: Context, stint: Stint) -> None:
    """Keep the samples of a stint that goes on."""
    settings = context.settings
    with context.database.transaction() as connection:
        samples.renew(connection, stint.round_id, stint.lease_id, now=context.clock.now(), duration=settings.lease)


def give_back(context: Context, stint: Stint) -> None:
    """Leave what was not ended to others."""
    with context.database.transaction() as connection:
        samples.give_back(connection, stint.round_id, stint.lease_id, context.clock.now())


def charge(context: Context, worker: Worker, stint: Stint, keys: Mapping[str, Sample]) -> None:
    """Enter what the engine used for `keys` since the last time, for those that were given up too."""
    used: dict[str, Use] = {}
    by_key = {sample.key: sample for sample in keys.values()}
    for key, sample in keys.items():
        used[sample.key] = used.get(sample.key, Use()) + worker.accountant.charge(key)
    for name, use in used.items():
        if use.energy_j or use.device_s:
            keep(context, stint, by_key[name], use, {})


def keep(context: Context, stint: Stint, sample: Sample, use: Use, answers: Mapping[int, str]) -> None:
    """Enter answers, and what they used at the price of the hour."""
    settings, now = context.settings, context.clock.now()
    with context.database.transaction() as connection:
        figure = intensity.current(connection, settings, settings.zone, now)
        footprint = context.hardware.price(
            energy_j=use.energy_j, device_s=use.device_s, intensity_g_per_kwh=figure.intensity_g_per_kwh
        )
        samples.keep(
            connection,
            sample,
            stint.lease_id,
            answers=answers,
            fingerprint=stint.fingerprints[sample.workload],
            use=use,
            footprint=footprint,
            now=now,
            duration=settings.lease,
        )
