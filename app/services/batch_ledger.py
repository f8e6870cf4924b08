"""What a batch used, summed up once when it ends, so that a list of batches costs no more than one.

When the figure of an hour comes or is revised later, settlement prices requests anew; the sums of their batches are
then stale, and the reconciliation tick makes them anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from app.domain.errors import MixedBases
from app.domain.intensity import one_basis
from app.services.context import Context
from app.services.l0_cost import L0Estimate, L0Method, estimates
from app.services.line_ledger import pricing
from app.settings import Settings
from app.store import batches, ledger
from app.store.batches import Batch
from app.store.ledger import LevelTotal

AT_ONCE = 50
"""Batches whose sums a tick makes anew."""


def refresh(context: Context) -> None:
    """Make the sums of batches anew that are stale."""
    with context.database.transaction() as connection:
        for batch in batches.stale(connection, AT_ONCE):
            batches.put_ledger(connection, batch.id, of_batch(connection, context.settings, batch))


def of_batch(connection: Connection, settings: Settings, batch: Batch) -> Mapping[str, Any]:
    """Sums over all of its requests, answered or not. Grams are None where they were priced on several bases.

    What L0 would have cost is that of the answered requests, by the best evidence for each workload, beside what the
    others used anyway; None where nothing is known of a workload. Its interval holds 90 % for each workload, and takes
    them to err together.
    """
    totals = ledger.totals(connection, batch.id)
    bases = ledger.energy_bases(connection, batch.id)
    levels = Counter[str]()
    for total in totals:
        if total.answered:
            levels[f"L{total.level}"] += total.requests
    return {
        "levels": dict(sorted(levels.items())),
        "energy_j": sum(total.energy_j for total in totals),
        "energy_basis": _weakest(bases),
        "device_s": sum(total.device_s for total in totals),
        **_grams(connection, batch, totals),
        **_at_l0(connection, settings, batch, totals),
        "pricing": pricing(count.origin for count in ledger.origins(connection, batch.id)),
    }


def _weakest(bases: Sequence[str]) -> str | None:
    """Measured only if all of it is."""
    return "modelled" if "modelled" in bases else next(iter(bases), None)


def _grams(connection: Connection, batch: Batch, totals: Sequence[LevelTotal]) -> Mapping[str, Any]:
    try:
        basis = one_basis(total.intensity_basis for total in totals) or None
    except MixedBases:
        names = ("intensity_g_per_kwh", "intensity_basis", "operational_g", "embodied_g", "footprint_g")
        return dict.fromkeys(names)
    operational_g, embodied_g = (sum(getattr(t, name) for t in totals) for name in ("operational_g", "embodied_g"))
    return {
        "intensity_g_per_kwh": ledger.mean_intensity(connection, batch.id),
        "intensity_basis": basis,
        "operational_g": operational_g,
        "embodied_g": embodied_g,
        "footprint_g": operational_g + embodied_g,
    }


def _at_l0(connection: Connection, settings: Settings, batch: Batch, totals: Sequence[LevelTotal]) -> Mapping[str, Any]:
    found, refused = estimates(connection, settings, batch, totals)
    workloads = {total.workload for total in totals}
    if refused or len(found) < len(workloads):
        names = ("l0_energy_j", "l0_footprint_g", "l0_footprint_g_interval", "l0_method", "saved_g", "saved_g_interval")
        return dict.fromkeys(names)
    lost_g = sum(t.operational_g + t.embodied_g for t in totals if not t.answered)
    spent_g = sum(t.operational_g + t.embodied_g for t in totals)
    l0_g = lost_g + sum(estimate.footprint_g for estimate in found)
    interval = _interval(found, lost_g)
    return {
        "l0_energy_j": sum(t.energy_j for t in totals if not t.answered) + sum(e.energy_j for e in found),
        "l0_footprint_g": l0_g,
        "l0_footprint_g_interval": interval,
        # The weakest: they stand best first.
        "l0_method": max((e.method for e in found), key=list(L0Method).index, default=None),
        "saved_g": l0_g - spent_g,
        "saved_g_interval": [end - spent_g for end in interval] if interval else None,
    }


def _interval(found: Sequence[L0Estimate], lost_g: float) -> list[float] | None:
    known = [estimate.footprint_g_interval for estimate in found if estimate.footprint_g_interval]
    if len(known) < len(found):
        return None
    return [lost_g + sum(ends) for ends in zip(*known, strict=True)] if known else [lost_g, lost_g]
