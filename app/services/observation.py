"""Reading the store into what a policy may see: intensity, traffic, use and verdicts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection

from app.domain.attribution import Use
from app.domain.bias import corrected
from app.domain.directive import L0
from app.domain.errors import IntensityUnavailable
from app.domain.footprint import Hardware
from app.domain.intensity import HOUR
from app.domain.judging import Kind
from app.domain.policy import Known, Observation
from app.domain.preference import EVEN, PAPER_PRIOR, Prior, Quality, Tally, from_tally, stratified
from app.domain.profile import Profile, of_floors
from app.domain.workload import floor_of
from app.services import deployment, evidence
from app.services.intensity import PAST, STALE_INTENSITY, Figure, age_hours, as_figure, known, past
from app.settings import Settings
from app.store import intensity, profiles, verdicts

PRIOR_REQUESTS = 10.0
"""A declared ratio to L0 counts as this many measured requests: a few answers vary by more than levels differ."""

NOMINAL = Use(energy_j=1.0, device_s=1.0)
"""Stands for L0 in a workload of which nothing was measured: only the ratio between its levels matters then."""


def prior(settings: Settings) -> Prior | None:
    """The declared prior, if its levels are those of the settings."""
    if settings.prior == "none" or len(PAPER_PRIOR.tallies) != settings.levels:
        return None
    return PAPER_PRIOR


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What the store knows at a moment. A policy can observe it while the intensity is fresh."""

    zone: str
    figure: Figure | None
    """What is known of the present intensity; else the last known one, too old to serve."""
    age_h: int
    """Whole hours between the figure's hour and the present one."""
    past: Sequence[float]
    """gCO2eq/kWh of the past 30 days, up to the present hour."""
    workloads: Sequence[Known]

    def observation(self, levels: int, hardware: Hardware) -> Observation:
        """Raises IntensityUnavailable when no recent intensity is known."""
        if self.figure is None or self.age_h * HOUR > STALE_INTENSITY:
            raise IntensityUnavailable(f"No recent carbon intensity of zone {self.zone} is known.")
        return Observation(
            intensity_g_per_kwh=self.figure.intensity_g_per_kwh,
            past=self.past,
            workloads=self.workloads,
            levels=levels,
            hardware=hardware,
        )


def look(
    connection: Connection,
    settings: Settings,
    model: str,
    tenant: str,
    names: Iterable[str],
    now: datetime,
    zone: str,
) -> Situation:
    """The present situation of the workloads, and strata of workloads, of these names, with a model and in a zone."""
    figure = known(connection, settings.basis, zone, now)
    if figure is None:
        last = intensity.latest(connection, zone, settings.basis, now)
        figure = as_figure(last, now) if last else None
    return Situation(
        zone=zone,
        figure=figure,
        age_h=age_hours(figure.start, now) if figure else 0,
        past=past(connection, settings, zone, now),
        workloads=_workloads(connection, settings, model, tenant, sorted(names), now),
    )


def _workloads(
    connection: Connection, settings: Settings, model: str, tenant: str, names: Sequence[str], now: datetime
) -> Sequence[Known]:
    belief = prior(settings)
    preferences, correct = (
        corrected(evidence.counted(connection, settings, tenant, model, kind, now))
        for kind in (Kind.PREFERENCE, Kind.CORRECTNESS)
    )
    qualities = _qualities(names, preferences, settings.levels, belief)
    correctness = _qualities(names, correct, settings.levels, None)
    fingerprints = deployment.fingerprints(connection, settings, model)
    ratios = verdicts.length_ratios(connection, tenant, model, fingerprints)
    known = _Profiles(profiles.all_of(connection, tenant, model))
    traffic = profiles.traffic(connection, tenant, model, now - PAST)
    # Without any weight in its floor the mix of a new stratum would be left to chance.
    requests = {name: max(traffic.get(name, 0), 1) for name in names}
    total = sum(requests.values())
    return [
        Known(
            workload=name,
            floor=floor_of(name),
            share=requests[name] / total,
            uses=_uses(name, settings.levels, known, belief, ratios),
            quality=qualities[name],
            correctness=correctness[name],
        )
        for name in names
    ]


def _qualities(
    names: Sequence[str], tallies: Mapping[tuple[str, int], Tally], levels: int, belief: Prior | None
) -> Mapping[str, Quality | None]:
    """A workload's quality is that of all its verdicts; its strata's are seen beside it."""
    strata: dict[str, set[str]] = defaultdict(set)
    whole: dict[tuple[str, int], Tally] = defaultdict(Tally)
    for name in (*names, *(name for name, _ in tallies)):
        strata[floor_of(name)] |= {name} - {floor_of(name)}
    for (name, level), tally in tallies.items():
        whole[floor_of(name), level] += tally
    found: dict[str, Quality | None] = {}
    for floor, members in strata.items():
        common = _quality(floor, whole, levels, belief)
        found |= dict.fromkeys((floor, *members), common)
        if common is not None:
            parts = {name: _quality(name, tallies, levels, None) for name in sorted(members)}
            found |= zip(parts, stratified(common, list(parts.values())), strict=True)
    return found


def _quality(name: str, tallies: Mapping[tuple[str, int], Tally], levels: int, belief: Prior | None) -> Quality | None:
    gains = {
        level: gain
        for level in range(1, levels)
        if (gain := from_tally(tallies.get((name, level), Tally()), belief.tallies[level] if belief else None))
    }
    return Quality(base=EVEN, gains=gains) if gains else None


class _Profiles:
    """The profile of a workload or a stratum at a level, and where it has none, what is known of its floor."""

    def __init__(self, entries: Sequence[Profile]) -> None:
        self._own = {(entry.workload, entry.level): entry for entry in entries}
        self._floors = of_floors(entries)

    def of(self, name: str, level: int) -> Profile | None:
        """Its own, else its floor's mean: in the same ratio to L0, as far as its own L0 was measured."""
        own, mean = self._own.get((name, level)), self._floors.get((floor_of(name), level))
        own_l0, mean_l0 = self._own.get((name, L0)), self._floors.get((floor_of(name), L0))
        if own or not mean or not own_l0 or not mean_l0 or not (mean_l0.energy_j and mean_l0.device_s):
            return own or mean
        return replace(
            mean,
            energy_j=mean.energy_j * own_l0.energy_j / mean_l0.energy_j,
            device_s=mean.device_s * own_l0.device_s / mean_l0.device_s,
        )


def _uses(
    name: str,
    levels: int,
    known: _Profiles,
    belief: Prior | None,
    ratios: Mapping[tuple[str, int], float],
) -> Mapping[int, Use]:
    """L0, and the levels of which the use is known or declared.

    A level that was judged and never served is taken to use as much less than L0 as its answers are shorter.
    """
    measured = {level: profile for level in range(levels) if (profile := known.of(name, level))}
    l0 = _l0(measured, belief)
    uses = {L0: l0}
    for level in range(1, levels):
        profile = measured.get(level)
        if belief is None:
            ratio = ratios.get((floor_of(name), level))
            if profile is not None:
                uses[level] = _use(profile)
            elif ratio is not None and L0 in measured:
                uses[level] = Use(energy_j=l0.energy_j * ratio, device_s=l0.device_s * ratio)
            continue
        declared = Use(
            energy_j=l0.energy_j * belief.relative_energy[level], device_s=l0.device_s * belief.relative_time[level]
        )
        # Where L0 was not measured, it was inferred from the level that was.
        uses[level] = _outweighed(declared, profile, measured.get(L0, profile)) if profile else declared
    return uses


def _l0(measured: Mapping[int, Profile], belief: Prior | None) -> Use:
    """Measured, else as much as the level that was measured most: no level saves anything before L0 is measured, except
    what is declared."""
    if L0 in measured or not measured:
        return _use(measured[L0]) if measured else NOMINAL
    level = max(measured, key=lambda level: measured[level].requests)
    use = _use(measured[level])
    if belief is None:
        return use
    return Use(
        energy_j=use.energy_j / belief.relative_energy[level], device_s=use.device_s / belief.relative_time[level]
    )


def _outweighed(declared: Use, profile: Profile, base: Profile) -> Use:
    """A measured level, as far as it and L0 were measured, and for the rest what is declared."""
    requests = min(profile.requests, base.requests)
    own = requests / (requests + PRIOR_REQUESTS)
    return Use(
        energy_j=own * profile.energy_j + (1 - own) * declared.energy_j,
        device_s=own * profile.device_s + (1 - own) * declared.device_s,
    )


def _use(profile: Profile) -> Use:
    return Use(energy_j=profile.energy_j, device_s=profile.device_s)
