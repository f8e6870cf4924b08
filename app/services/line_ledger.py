"""What `sprout` says of a line of output: its request's row of the ledger, and what it would have cost at L0.

Batches say the same of their sums, in the same words: `app.services.batch_ledger`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection

from app.domain.directive import L0
from app.domain.intensity import Origin
from app.domain.profile import Profile, of_floors
from app.domain.workload import floor_of
from app.services.l0_cost import MIN_L0_REQUESTS
from app.settings import Settings
from app.store import profiles
from app.store.batches import Batch
from app.store.results import Result


class Pricing(StrEnum):
    """Whether the figures of the hours are final with which something was priced."""

    SETTLED = "settled"
    ESTIMATED = "estimated"
    """Grams may change: the source has not given, or may still revise, the figure of an hour."""


FINAL = frozenset({Origin.MEASURED, Origin.STATIC})


def pricing(origins: Iterable[str]) -> Pricing | None:
    """Of what was priced with figures that were had so; None for what never ran."""
    found = {origin for origin in origins if origin}
    if not found:
        return None
    return Pricing.SETTLED if found <= FINAL else Pricing.ESTIMATED


def l0_profiles(connection: Connection, settings: Settings, batch: Batch) -> Mapping[str, Profile]:
    """What a request costs at L0, by workload, where enough of them were measured."""
    known = of_floors(profiles.all_of(connection, batch.tenant_id, batch.model or settings.home_model))
    return {
        floor: profile
        for (floor, level), profile in known.items()
        if level == L0 and profile.requests >= MIN_L0_REQUESTS
    }


def of_line(result: Result, known: Mapping[str, Profile]) -> dict[str, Any]:
    footprint_g = result.operational_g + result.embodied_g
    energy_j, grams = _at_l0(result, footprint_g, known)
    return {
        "finished_at": result.finished_at.isoformat(),
        "workload": floor_of(result.workload),
        "level": f"L{result.level}",
        "probability": result.probability,
        "pinned": result.mix_id is None,
        "cached": result.cached,
        "prompt_tokens": result.prompt_tokens,
        "completion_tokens": result.completion_tokens,
        "energy_j": result.energy_j,
        "energy_basis": result.energy_basis,
        "device_s": result.device_s,
        "zone": result.zone,
        "intensity_g_per_kwh": result.intensity_g_per_kwh,
        "intensity_basis": result.intensity_basis,
        "intensity_origin": result.intensity_origin,
        "operational_g": result.operational_g,
        "embodied_g": result.embodied_g,
        "footprint_g": footprint_g,
        "l0_energy_j": energy_j,
        "l0_footprint_g": grams,
        "saved_g": None if grams is None else grams - footprint_g,
        "pricing": pricing([result.intensity_origin]),
    }


def _at_l0(result: Result, footprint_g: float, known: Mapping[str, Profile]) -> tuple[float | None, float | None]:
    """Joules and grams expected of the request at L0, priced as it was; None where nothing can be said: it has no
    answer or one that was there already, its user chose the level, or too few requests of its workload were measured at
    L0."""
    if result.status_code != 200 or result.cached:
        return None, None
    if result.level == L0:
        return result.energy_j, footprint_g
    base = known.get(floor_of(result.workload))
    if result.mix_id is None or base is None or not result.energy_j:
        return None, None
    return base.energy_j, base.energy_j * footprint_g / result.energy_j
