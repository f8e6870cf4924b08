"""What a batch used, per level, and what it would have used at L0."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from app.domain.preference import Evidence, weakest
from app.domain.workload import floor_of
from app.services.context import Context
from app.services.hindsight import Hindsight, look_back
from app.services.l0_cost import L0Estimate, estimates
from app.store import batches, ledger, mixes, windows
from app.store.batches import Batch
from app.store.ledger import LevelTotal, OriginCount
from app.store.mixes import DirectiveMix
from app.store.windows import WindowTotal


@dataclass(frozen=True, kw_only=True)
class MixNow:
    """The directive mix of a workload; where it has strata, their mean, weighted by their requests in the batch."""

    probabilities: Sequence[float]
    evidence: Evidence
    mixes: int
    """How many it is the mean of."""


@dataclass(frozen=True, kw_only=True)
class Report:
    batch: Batch
    levels: Sequence[LevelTotal]
    l0: Sequence[L0Estimate]
    """One per workload of which anything can be said."""
    l0_refused: str | None
    """Why there is none at all: the batch was priced on several accounting bases."""
    machines: WindowTotal
    """What all workers used while the batch ran, other batches and idleness included."""
    mixes: Mapping[str, MixNow]
    energy_bases: Sequence[str]
    intensity_bases: Sequence[str]
    intensity_origins: Sequence[OriginCount]
    """How the figures were had that the answered requests are priced with."""
    hindsight: Hindsight | None
    """None for a batch that was never planned, that has not begun, or whose figures have several bases."""


def report(context: Context, tenant: str, batch_id: str) -> Report:
    """Raises NotFound."""
    settings, now = context.settings, context.clock.now()
    with context.database.transaction() as connection:
        batch = batches.get(connection, tenant, batch_id)
        totals = ledger.totals(connection, batch_id)
        start = batch.in_progress_at or now
        end = (batch.finalizing_at or batch.cancelling_at or now) + timedelta(seconds=1)
        current = mixes.current(connection, tenant, settings.all_zones[0], batch.model or settings.home_model)
        requests = ledger.requests_by_mix(connection, batch_id)
        found, refused = estimates(connection, settings, batch, totals)
        origins = ledger.origins(connection, batch_id)
        return Report(
            batch=batch,
            levels=totals,
            l0=found,
            l0_refused=refused,
            machines=windows.total(connection, start, end),
            mixes=_mixes_now(current, requests, settings.levels),
            energy_bases=ledger.energy_bases(connection, batch_id),
            intensity_bases=sorted({count.basis for count in origins}),
            intensity_origins=origins,
            hindsight=look_back(connection, settings, batch),
        )


def _mixes_now(current: Mapping[str, DirectiveMix], requests: Mapping[str, int], levels: int) -> Mapping[str, MixNow]:
    """By workload. Mixes from before SPROUT_DIRECTIVES was changed say nothing about the levels of now."""
    found: dict[str, list[tuple[DirectiveMix, int]]] = defaultdict(list)
    for name, number in requests.items():
        if name in current and len(current[name].probabilities) == levels:
            found[floor_of(name)].append((current[name], number))
    return {
        floor: MixNow(
            probabilities=[
                sum(number * mix.probabilities[level] for mix, number in parts) / sum(number for _, number in parts)
                for level in range(levels)
            ],
            evidence=weakest(Evidence(mix.evidence) for mix, _ in parts),
            mixes=len(parts),
        )
        for floor, parts in found.items()
    }
