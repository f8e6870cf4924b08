"""What the planner goes by: the hours to come in each zone, and what a request takes in each of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
from sqlalchemy import Connection

from app.domain.arrays import Floats
from app.domain.attribution import Use
from app.domain.batch import LONGEST_WINDOW_H
from app.domain.directive import L0
from app.domain.errors import IntensityUnavailable, InvalidInput, OptimizerFailed
from app.domain.expected_use import UseCurve, mean_use, use_curve
from app.domain.footprint import Hardware
from app.domain.intensity import HOUR
from app.domain.policy import Known, only
from app.domain.units import hour_of
from app.domain.workload import floor_of
from app.services import capacity, forecasts, intensity, observation
from app.services.capacity import Capacity
from app.services.directives import ours
from app.services.observation import Situation
from app.settings import Settings
from app.store import ledger, mixes, profiles

HORIZON_H = LONGEST_WINDOW_H + 1
"""The longest completion window, and what is left of the present hour."""

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
        return self.hardware.emitted_g(use.energy_j, use.device_s, self.zones[zone].intensity_g_per_kwh)

    def cost_g(self, zone: str, use: RequestUse) -> Floats:
        """What running a request there decides (H)."""
        known = self.zones[zone]
        return self.hardware.above_idle_g(
            use.energy_j, use.device_s, known.intensity_g_per_kwh, idle_w=known.capacity.idle_w
        )

    def transfer_g(self, zone: str, home: str, kwh_per_gb: float, gb: float) -> Floats:
        """Of moving data to a zone and back (H), at the mean intensity of both; nothing at home."""
        if zone == home:
            return np.zeros(len(self.starts))
        there = self.zones[zone]
        both = (there.intensity_g_per_kwh + self.zones.get(home, there).intensity_g_per_kwh) / 2
        return np.asarray(2 * gb * kwh_per_gb * both)


def look_ahead(
    connection: Connection, settings: Settings, hardware: Hardware, model: str, kinds: Iterable[Kind], now: datetime
) -> Outlook | None:
    """The outlook for requests of these kinds to a model; None while it has answered none, so that nothing can be
    said of the time that any takes."""
    by_tenant: dict[str, set[Kind]] = defaultdict(set)
    for kind in kinds:
        by_tenant[kind.tenant].add(kind)
    typical = _typical(connection, model, by_tenant)
    if typical is None:
        return None
    found = {}
    for zone, measured in capacity.measured(connection, settings, now, model).items():
        expected, error_90 = _expected(connection, settings, zone, now)
        uses: dict[Kind, RequestUse] = {}
        for tenant, own in by_tenant.items():
            situation = _situation(connection, settings, model, tenant, own, now, zone)
            uses |= _uses(settings, hardware, situation, own, expected, typical)
        found[zone] = ZoneOutlook(
            zone=zone, capacity=measured, intensity_g_per_kwh=expected, error_90=error_90, uses=uses
        )
    starts = [now, *(hour_of(now) + number * HOUR for number in range(1, HORIZON_H))]
    return Outlook(now=now, starts=starts, zones=found, hardware=hardware)


def _typical(connection: Connection, model: str, tenants: Iterable[str]) -> Use | None:
    """What a request takes of which nothing else is known: as others at L0, or as the newest that were answered."""
    measured = profiles.typical(connection, model, L0)
    recent = (ledger.recent_use(connection, tenant, model, RECENT) for tenant in sorted(tenants))
    return measured or next((use for use in recent if use), None)


def _situation(
    connection: Connection,
    settings: Settings,
    model: str,
    tenant: str,
    kinds: Iterable[Kind],
    now: datetime,
    zone: str,
) -> Situation:
    """With all strata of their floors: the mixes of these hang together."""
    names = {kind.workload for kind in kinds}
    floors = {floor_of(name) for name in names}
    siblings = {name for name in mixes.current(connection, tenant, zone, model) if floor_of(name) in floors}
    return observation.look(connection, settings, model, tenant, names | siblings, now, zone)


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
    known = [_scaled(entry, typical) for entry in situation.workloads]
    columns = {entry.workload: column for column, entry in enumerate(known)}
    span = [*situation.past, *expected]
    curve = None
    # As in service without a solution: the longest answers, so that deadlines are safe.
    with suppress(IntensityUnavailable, InvalidInput, OptimizerFailed):
        seen = replace(situation.observation(settings.levels, hardware), workloads=known)
        curve = use_curve(ours(settings), seen, least=min(span), greatest=max(span))
    found = {}
    for kind in kinds:
        column = columns[kind.workload]
        if kind.pinned_level is None and curve is not None:
            found[kind] = _drawn(curve, column, expected)
        else:
            level = min(kind.pinned_level or L0, settings.levels - 1)
            found[kind] = _pinned(mean_use(known[column], only(level, settings.levels)))
    return found


def _drawn(curve: UseCurve, column: int, expected: Floats) -> RequestUse:
    device_s = np.maximum(curve.device_s[:, column], SHORTEST_S)
    return RequestUse(
        energy_j=np.interp(expected, curve.intensity, curve.energy_j[:, column]),
        device_s=np.interp(expected, curve.intensity, device_s),
        cleanest_s=float(device_s[0]),
    )


def _pinned(use: Use) -> RequestUse:
    """The same in every hour."""
    device_s = max(use.device_s, SHORTEST_S)
    return RequestUse(
        energy_j=np.full(HORIZON_H, use.energy_j), device_s=np.full(HORIZON_H, device_s), cleanest_s=device_s
    )


def _scaled(entry: Known, typical: Use) -> Known:
    """A workload that was never measured has nominal uses, right in their ratios: L0 is then like other workloads'."""
    if entry.uses[L0] is not observation.NOMINAL:
        return entry
    uses = {
        level: Use(energy_j=use.energy_j * typical.energy_j, device_s=use.device_s * typical.device_s)
        for level, use in entry.uses.items()
    }
    return replace(entry, uses=uses)
