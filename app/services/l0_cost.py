"""What the requests of a batch would have cost at L0, by the best evidence at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection

from app.domain.directive import L0
from app.domain.errors import MixedBases
from app.domain.intensity import one_basis
from app.domain.profile import pooled
from app.domain.savings import Z_90, mean_at_l0
from app.domain.workload import floor_of
from app.services.observation import prior
from app.settings import Settings
from app.store import ledger, profiles
from app.store.batches import Batch
from app.store.ledger import LevelTotal

MIN_L0_REQUESTS = 5
"""With fewer requests drawn at L0 in the batch itself, other evidence says more."""


class L0Method(StrEnum):
    """What the estimate of L0's cost rests on, best first."""

    ACTUAL = "every request ran at L0"
    PINNED = "every level was pinned by the user"
    RANDOMISED = "requests of this batch drawn at L0, weighted by inverse propensity"
    PROFILE = "mean of this workload's earlier requests at L0"
    PRIOR = "prior, not measured: the paper's ratios between levels"


@dataclass(frozen=True, kw_only=True)
class L0Estimate:
    """Cost of the same answered requests at L0, with a 90 % interval where the method has one."""

    workload: str
    method: L0Method
    requests: int
    """L0 requests that the estimate rests on; earlier ones as many as they count for, faded."""
    energy_j: float
    energy_j_interval: tuple[float, float] | None
    footprint_g: float
    footprint_g_interval: tuple[float, float] | None


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What the answered requests of one workload in a batch used."""

    workload: str
    totals: Sequence[LevelTotal]

    @property
    def drawn(self) -> int:
        return sum(total.drawn for total in self.totals)

    @property
    def energy_j(self) -> float:
        return sum(total.energy_j for total in self.totals)

    @property
    def footprint_g(self) -> float:
        return sum(total.operational_g + total.embodied_g for total in self.totals)

    @property
    def grams_per_j(self) -> float:
        return self.footprint_g / self.energy_j if self.energy_j else 0.0

    def estimate(
        self, method: L0Method, requests: int, joules: tuple[float, float], grams: tuple[float, float]
    ) -> L0Estimate:
        """From (figure, margin) of the drawn requests. Pinned ones would have cost what they did: their user chose the
        level, not the mix."""
        energy_j = joules[0] + sum(total.pinned_energy_j for total in self.totals)
        footprint_g = grams[0] + sum(total.pinned_g for total in self.totals)
        return L0Estimate(
            workload=self.workload,
            method=method,
            requests=requests,
            energy_j=energy_j,
            energy_j_interval=(max(energy_j - joules[1], 0.0), energy_j + joules[1]),
            footprint_g=footprint_g,
            footprint_g_interval=(max(footprint_g - grams[1], 0.0), footprint_g + grams[1]),
        )


def estimates(
    connection: Connection, settings: Settings, batch: Batch, totals: Sequence[LevelTotal]
) -> tuple[Sequence[L0Estimate], str | None]:
    """One for each workload of which anything can be said; or why there can be none at all."""
    workloads = sorted({total.workload for total in totals})
    try:
        found = [estimate_l0(connection, settings, batch, totals, workload) for workload in workloads]
    except MixedBases as exc:
        return [], exc.message
    return [estimate for estimate in found if estimate is not None], None


def estimate_l0(
    connection: Connection, settings: Settings, batch: Batch, totals: Sequence[LevelTotal], workload: str
) -> L0Estimate | None:
    """By the best method that has evidence; None where nothing is known.

    Raises:
        MixedBases: the batch was priced on several accounting bases.
    """
    one_basis(total.intensity_basis for total in totals)
    spent = Spent(workload=workload, totals=[t for t in totals if t.workload == workload and t.answered])
    return (
        _undecided(spent)
        or _randomised(connection, batch, spent)
        or _profile(connection, settings, batch, spent)
        or _prior(settings, spent)
    )


def _undecided(spent: Spent) -> L0Estimate | None:
    """The mix decided nothing: everything ran at L0 or at a level that its user pinned."""
    if any(total.level != L0 and total.drawn for total in spent.totals):
        return None
    at_l0 = spent.drawn or all(total.level == L0 for total in spent.totals)
    exact = (spent.energy_j, spent.energy_j), (spent.footprint_g, spent.footprint_g)
    return L0Estimate(
        workload=spent.workload,
        method=L0Method.ACTUAL if at_l0 else L0Method.PINNED,
        requests=spent.drawn,
        energy_j=spent.energy_j,
        energy_j_interval=exact[0],
        footprint_g=spent.footprint_g,
        footprint_g_interval=exact[1],
    )


def _randomised(connection: Connection, batch: Batch, spent: Spent) -> L0Estimate | None:
    energy, grams = (mean_at_l0(sums) for sums in ledger.l0_sums(connection, batch.id, spent.workload))
    if energy is None or grams is None or energy.requests < MIN_L0_REQUESTS:
        return None
    joules = spent.drawn * energy.mean, spent.drawn * (energy.high - energy.mean)
    gram = spent.drawn * grams.mean, spent.drawn * (grams.high - grams.mean)
    return spent.estimate(L0Method.RANDOMISED, energy.requests, joules, gram)


def _profile(connection: Connection, settings: Settings, batch: Batch, spent: Spent) -> L0Estimate | None:
    known = profiles.all_of(connection, batch.tenant_id, batch.model or settings.home_model)
    own = [profile for profile in known if (floor_of(profile.workload), profile.level) == (spent.workload, L0)]
    if sum(profile.requests for profile in own) < MIN_L0_REQUESTS:
        return None
    base = pooled(own, spent.workload)
    mean, margin = spent.drawn * base.energy_j, spent.drawn * Z_90 * base.energy_error_j
    grams = mean * spent.grams_per_j, margin * spent.grams_per_j
    return spent.estimate(L0Method.PROFILE, round(base.requests), (mean, margin), grams)


def _prior(settings: Settings, spent: Spent) -> L0Estimate | None:
    belief = prior(settings)
    if belief is None or any(total.level >= len(belief.relative_energy) for total in spent.totals):
        return None
    pinned_j = sum(total.pinned_energy_j for total in spent.totals)
    pinned_g = sum(total.pinned_g for total in spent.totals)
    at_l0 = sum((t.energy_j - t.pinned_energy_j) / belief.relative_energy[t.level] for t in spent.totals)
    return L0Estimate(
        workload=spent.workload,
        method=L0Method.PRIOR,
        requests=0,
        energy_j=pinned_j + at_l0,
        energy_j_interval=None,
        footprint_g=pinned_g + at_l0 * spent.grams_per_j,
        footprint_g_interval=None,
    )
