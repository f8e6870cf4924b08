"""What the planner goes by: the hours to come in each zone, and what a request takes in each of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from app.domain.attribution import Use
from app.domain.batch import COMPLETION_WINDOWS
from app.domain.directive import L0
from app.domain.errors import IntensityUnavailable, InvalidInput, OptimizerFailed
from app.domain.footprint import Hardware
from app.domain.intensity import HOUR
from app.domain.policy import Known, only
from app.domain.units import JOULES_PER_KWH, hour_of
from app.domain.workload import floor_of
from app.services import capacity, forecasts, intensity, observation
from app.services.capacity import Capacity
from app.services.directives import ours
from app.services.observation import Situation
from app.settings import Settings
from app.store import ledger, mixes, profiles

Floats = NDArray[np.float64]

HORIZON_H = COMPLETION_WINDOWS[1] // HOUR + 1
"""The longest completion window, and what is left of the present hour."""

NODES = 5
"""Intensities for which the policy is asked; between them use is interpolated. Mixes follow the intensity smoothly."""

RECENT = 1000
"""Answered requests that say what one takes, until there are profiles."""

SHORTEST_S = 1e-6
"""A request takes some time, however coarse the clock was."""


@dataclass(frozen=True, kw_only=True, order=True)
class Kind:
    """Requests that are alike for planning."""

    tenant: str
    workload: str
    """Or a stratum of one."""
    pinned_level: int | None


@dataclass(frozen=True, kw_only=True)
class RequestUse:
    """What a request takes, by hour of the horizon (H)."""

    energy_j: Floats
    device_s: Floats
    cleanest_s: float
    """Device-seconds in the cleanest hour of the past 30 days or of the horizon."""


@dataclass(frozen=True, kw_only=True)
class ZoneOutlook:
    """A zone in the hours of the horizon (H)."""

    zone: str
    capacity: Capacity
    intensity_g_per_kwh: Floats
    error_90: Floats
    """Nine of ten figures differ from their forecast by at most this part of it; NaN where too little was scored."""
    uses: Mapping[Kind, RequestUse]


@dataclass(frozen=True, kw_only=True)
class Outlook:
    now: datetime
    starts: Sequence[datetime]
    """Of the hours: now, for what is left of the present one, then the full ones."""
    zones: Mapping[str, ZoneOutlook]
    """Those with workers, and the default one."""
    hardware: Hardware

    @property
    def starts_h(self) -> Floats:
        return np.array([(start - self.now) / HOUR for start in self.starts])

    def end(self, hour: int) -> datetime:
        return hour_of(self.starts[hour]) + HOUR

    def mean_use(self, zone: str, kinds: Mapping[Kind, int]) -> RequestUse:
        """Of one request among these, by how many there are of each kind."""
        total = sum(kinds.values())
        parts = [(number / total, self.zones[zone].uses[kind]) for kind, number in kinds.items()]
        return RequestUse(
            energy_j=np.sum([share * use.energy_j for share, use in parts], axis=0),
            device_s=np.sum([share * use.device_s for share, use in parts], axis=0),
            cleanest_s=sum(share * use.cleanest_s for share, use in parts),
        )

    def footprint_g(self, zone: str, use: RequestUse) -> Floats:
        """Of one request in a zone (H), as the ledger would have it: operational and embodied."""
        operational = use.energy_j / JOULES_PER_KWH * self.hardware.pue * self.zones[zone].intensity_g_per_kwh
        return np.asarray(operational + use.device_s * self.hardware.embodied_g_per_device_s)

    def cost_g(self, zone: str, use: RequestUse) -> Floats:
        """What running a request there decides (H): its energy above that of the machine, which idles if it does not
        run, at the hour's intensity. Embodied carbon is reserved whether or not the machine works."""
        known = self.zones[zone]
        above_idle_j = np.maximum(use.energy_j - known.capacity.idle_w * use.device_s, 0.0)
        return np.asarray(above_idle_j / JOULES_PER_KWH * self.hardware.pue * known.intensity_g_per_kwh)

    def transfer_g(self, zone: str, home: str, kwh_per_gb: float, gb: float) -> Floats:
        """Of moving data to a zone and back (H), at the mean intensity of both; nothing at home."""
        if zone == home:
            return np.zeros(len(self.starts))
        there = self.zones[zone]
        both = (there.intensity_g_per_kwh + self.zones.get(home, there).intensity_g_per_kwh) / 2
        return np.asarray(2 * gb * kwh_per_gb * both)


def look_ahead(
    connection: Connection, settings: Settings, hardware: Hardware, kinds: Iterable[Kind], now: datetime
) -> Outlook | None:
    """The outlook for requests of these kinds; None while no request was ever answered, so that nothing can be said of
    the time that any takes."""
    by_tenant: dict[str, set[Kind]] = defaultdict(set)
    for kind in kinds:
        by_tenant[kind.tenant].add(kind)
    typical = _typical(connection, settings, by_tenant)
    if typical is None:
        return None
    found = {}
    for zone, measured in capacity.measured(connection, settings, now).items():
        expected, error_90 = _expected(connection, settings, zone, now)
        uses: dict[Kind, RequestUse] = {}
        for tenant, own in by_tenant.items():
            situation = _situation(connection, settings, tenant, own, now, zone)
            uses |= _uses(settings, hardware, situation, own, expected, typical)
        found[zone] = ZoneOutlook(
            zone=zone, capacity=measured, intensity_g_per_kwh=expected, error_90=error_90, uses=uses
        )
    starts = [now, *(hour_of(now) + number * HOUR for number in range(1, HORIZON_H))]
    return Outlook(now=now, starts=starts, zones=found, hardware=hardware)


def _typical(connection: Connection, settings: Settings, tenants: Iterable[str]) -> Use | None:
    """What a request takes of which nothing else is known: as others at L0, or as the newest that were answered."""
    model = settings.served_name
    measured = profiles.typical(connection, model, L0)
    recent = (ledger.recent_use(connection, tenant, model, RECENT) for tenant in sorted(tenants))
    return measured or next((use for use in recent if use), None)


def _situation(
    connection: Connection, settings: Settings, tenant: str, kinds: Iterable[Kind], now: datetime, zone: str
) -> Situation:
    """With all strata of their floors: the mixes of these hang together."""
    names = {kind.workload for kind in kinds}
    floors = {floor_of(name) for name in names}
    siblings = {name for name in mixes.current(connection, tenant, zone) if floor_of(name) in floors}
    return observation.look(connection, settings, tenant, names | siblings, now, zone)


def _expected(connection: Connection, settings: Settings, zone: str, now: datetime) -> tuple[Floats, Floats]:
    """Intensity by hour of the horizon and its likely error; where no forecast reaches, the mean of what is known."""
    series = forecasts.expected(connection, settings, zone, now, HORIZON_H)
    known = [hour.intensity_g_per_kwh for hour in series]
    if not known:
        known = [intensity.current(connection, settings, zone, now).intensity_g_per_kwh]
    found = np.full(HORIZON_H, float(np.mean(known)))
    found[: len(known)] = known
    scores = forecasts.scores(connection, settings, zone, now)
    errors = [
        0.0
        if hour.issued_at is None
        else forecasts.error_90(scores, hour.provider, (hour.start - hour.issued_at) / HOUR)
        for hour in series
    ]
    error_90 = np.full(HORIZON_H, np.nan)
    error_90[: len(errors)] = [np.nan if error is None else error for error in errors]
    return found, error_90


def _uses(
    settings: Settings,
    hardware: Hardware,
    situation: Situation,
    kinds: Iterable[Kind],
    expected: Floats,
    typical: Use,
) -> Mapping[Kind, RequestUse]:
    """By asking the policy what it would decide at a few intensities, from the least that is known to the greatest."""
    span = [*situation.past, *expected]
    nodes = np.unique(np.linspace(min(span), max(span), NODES))
    known = {entry.workload: _scaled(entry, typical) for entry in situation.workloads}
    try:
        seen = replace(situation.observation(settings.levels, hardware), workloads=list(known.values()))
        decided = [ours(settings).decide(replace(seen, intensity_g_per_kwh=float(node))).mixes for node in nodes]
    except (IntensityUnavailable, InvalidInput, OptimizerFailed):
        # As in service without a solution: the longest answers, so that deadlines are safe.
        decided = [dict.fromkeys(known, only(L0, settings.levels))] * len(nodes)
    found = {}
    for kind in kinds:
        pinned = None if kind.pinned_level is None else min(kind.pinned_level, settings.levels - 1)
        drawn = (mix[kind.workload] if pinned is None else only(pinned, settings.levels) for mix in decided)
        table = np.array([_mean(known[kind.workload], mix) for mix in drawn])
        energy_j, device_s = (np.interp(expected, nodes, column) for column in table.T)
        found[kind] = RequestUse(energy_j=energy_j, device_s=device_s, cleanest_s=float(table[0, 1]))
    return found


def _scaled(entry: Known, typical: Use) -> Known:
    """A workload that was never measured has nominal uses, right in their ratios: L0 is then like other workloads'."""
    if entry.uses[L0] is not observation.NOMINAL:
        return entry
    uses = {
        level: Use(energy_j=use.energy_j * typical.energy_j, device_s=use.device_s * typical.device_s)
        for level, use in entry.uses.items()
    }
    return replace(entry, uses=uses)


def _mean(entry: Known, mix: Sequence[float]) -> tuple[float, float]:
    """Energy (J) and device-seconds of a request under a mix; a level that was never measured is taken for L0."""
    uses = [entry.uses.get(level, entry.uses[L0]) for level in range(len(mix))]
    energy_j = sum(share * use.energy_j for share, use in zip(mix, uses, strict=True))
    device_s = sum(share * use.device_s for share, use in zip(mix, uses, strict=True))
    return energy_j, max(device_s, SHORTEST_S)
