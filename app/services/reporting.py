"""What a batch used, per level, and what it would have used at L0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import Connection

from app.domain.directive import L0
from app.domain.savings import Z_90, mean_at_l0
from app.services import directives
from app.services.context import Context
from app.settings import Settings
from app.store import batches, mixes, profiles, results, windows
from app.store.batches import Batch
from app.store.mixes import DirectiveMix
from app.store.results import LevelTotal, Result
from app.store.windows import WindowTotal

MIN_L0_REQUESTS = 5
"""With fewer requests drawn at L0 in the batch itself, other evidence says more."""


class L0Method(StrEnum):
    """What the estimate of L0's cost rests on, best first."""

    ACTUAL = "no request drew a level above L0"
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
    """L0 requests that the estimate rests on."""
    energy_j: float
    energy_j_interval: tuple[float, float] | None
    footprint_g: float
    footprint_g_interval: tuple[float, float] | None


@dataclass(frozen=True, kw_only=True)
class Report:
    batch: Batch
    levels: Sequence[LevelTotal]
    l0: Sequence[L0Estimate]
    """One per workload of which anything can be said."""
    machines: WindowTotal
    """What all workers used while the batch ran, other batches and idleness included."""
    mixes: Mapping[str, DirectiveMix]
    energy_bases: Sequence[str]
    intensity_bases: Sequence[str]


def report(context: Context, tenant: str, batch_id: str) -> Report:
    """Raises NotFound."""
    settings, now = context.settings, context.clock.now()
    with context.database.transaction() as connection:
        batch = batches.get(connection, tenant, batch_id)
        totals = results.totals(connection, batch_id)
        start = batch.in_progress_at or now
        end = (batch.finalizing_at or batch.cancelling_at or now) + timedelta(seconds=1)
        current = mixes.current(connection, tenant)
        workloads = {total.workload for total in totals}
        found = [estimate_l0(connection, settings, batch, totals, workload) for workload in sorted(workloads)]
        energy_bases, intensity_bases = results.bases(connection, batch_id)
        return Report(
            batch=batch,
            levels=totals,
            l0=[estimate for estimate in found if estimate is not None],
            machines=windows.total(connection, start, end),
            mixes={name: mix for name, mix in current.items() if name in workloads},
            energy_bases=energy_bases,
            intensity_bases=intensity_bases,
        )


def estimate_l0(
    connection: Connection, settings: Settings, batch: Batch, totals: Sequence[LevelTotal], workload: str
) -> L0Estimate | None:
    """By the best method that has evidence; None where nothing is known.

    Pinned requests would have cost what they did: their user chose the level, not the mix.
    """
    own = [total for total in totals if total.workload == workload and total.answered]
    drawn = sum(total.drawn for total in own)
    spent_j, spent_g = sum(t.energy_j for t in own), sum(t.operational_g + t.embodied_g for t in own)
    fixed_j, fixed_g = sum(t.pinned_energy_j for t in own), sum(t.pinned_g for t in own)
    if all(total.level == L0 or total.drawn == 0 for total in own):
        method = L0Method.ACTUAL if drawn or all(total.level == L0 for total in own) else L0Method.PINNED
        return _estimate(workload, method, drawn, (spent_j, 0.0), (spent_g, 0.0), 0.0, 0.0)
    energy, grams = (mean_at_l0(sums) for sums in results.l0_sums(connection, batch.id, workload))
    if energy is not None and grams is not None and energy.requests >= MIN_L0_REQUESTS:
        return _estimate(
            workload,
            L0Method.RANDOMISED,
            energy.requests,
            (drawn * energy.mean, drawn * (energy.high - energy.mean)),
            (drawn * grams.mean, drawn * (grams.high - grams.mean)),
            fixed_j,
            fixed_g,
        )
    grams_per_j = spent_g / spent_j if spent_j else 0.0
    known = {
        profile.level: profile
        for profile in profiles.all_of(connection, batch.tenant_id, settings.served_name)
        if profile.workload == workload
    }
    base = known.get(L0)
    if base is not None and base.requests >= MIN_L0_REQUESTS:
        margin = drawn * Z_90 * base.energy_sd_j / base.requests**0.5
        joules = (drawn * base.energy_j, margin)
        return _estimate(
            workload, L0Method.PROFILE, base.requests, joules, _times(joules, grams_per_j), fixed_j, fixed_g
        )
    belief = directives.prior(settings)
    if belief is None:
        return None
    at_l0 = sum((t.energy_j - t.pinned_energy_j) / belief.relative_energy[t.level] for t in own)
    return L0Estimate(
        workload=workload,
        method=L0Method.PRIOR,
        requests=0,
        energy_j=fixed_j + at_l0,
        energy_j_interval=None,
        footprint_g=fixed_g + at_l0 * grams_per_j,
        footprint_g_interval=None,
    )


def _times(pair: tuple[float, float], factor: float) -> tuple[float, float]:
    return pair[0] * factor, pair[1] * factor


def _estimate(
    workload: str,
    method: L0Method,
    requests: int,
    joules: tuple[float, float],
    grams: tuple[float, float],
    fixed_j: float,
    fixed_g: float,
) -> L0Estimate:
    """From (figure, margin) of the drawn requests and the fixed cost of the pinned ones."""
    energy_j, footprint_g = fixed_j + joules[0], fixed_g + grams[0]
    return L0Estimate(
        workload=workload,
        method=method,
        requests=requests,
        energy_j=energy_j,
        energy_j_interval=(max(energy_j - joules[1], 0.0), energy_j + joules[1]),
        footprint_g=footprint_g,
        footprint_g_interval=(max(footprint_g - grams[1], 0.0), footprint_g + grams[1]),
    )


def finished_since(context: Context, batch_id: str, since: datetime, limit: int) -> Sequence[Result]:
    """Results recorded at or after `since`, oldest first."""
    with context.database.transaction() as connection:
        return results.finished_since(connection, batch_id, since, limit)
