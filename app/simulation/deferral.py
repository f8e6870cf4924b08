"""What moving work within its completion window saves, with one forecast and another.

The same work arrives every hour, one batch an hour, and the machines could do several times as much. It is planned anew
every hour, with the intensity of the present hour and a forecast of the others; what it saves is held against running
each batch in the hour of its arrival. No directives: that is `app.simulation.together`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from app.domain.arrays import Floats
from app.domain.attribution import Use
from app.domain.batch import Schedule
from app.domain.errors import InvalidInput
from app.domain.footprint import Hardware
from app.domain.work import S_PER_H, Demand
from app.simulation.dataset import Dataset, load
from app.simulation.foresight import DAY_H, Forecasts, Foresight, foresight, read_forecasts
from app.simulation.rolling import Batch, Rolling
from app.simulation.site import IDLE_W, Site

WINDOW_H = 24
OWN_FORECASTS = (Forecasts.BUILT_IN, Forecasts.SEASONAL_NAIVE, Forecasts.PERFECT)
PAST_DAYS = 7
"""Days of recorded forecasts that are only learnt from."""

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Load:
    """What is asked of the machines."""

    requests_per_hour: int = 10_000
    shards: int = 20
    """Of a batch, all alike."""
    capacity: float = 2.0
    """Device-seconds per second, in multiples of what arrives."""
    idle_w: float = IDLE_W
    hardware: Hardware = field(default_factory=Hardware)

    def batches(self, hours: int) -> Sequence[Batch]:
        """One an hour."""
        shards = np.diff(np.linspace(0, self.requests_per_hour, self.shards + 1).astype(np.int64))
        return [Batch(at_h=hour, requests=shards[shards > 0], window_h=WINDOW_H) for hour in range(hours)]

    def site(self, device_s: float) -> Site:
        """Machines for so many device-seconds a request."""
        devices = self.capacity * self.requests_per_hour * device_s / S_PER_H
        return Site(devices=devices, idle_w=self.idle_w, hardware=self.hardware)


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Hours of a series in which work arrives; the series goes on for a completion window after them."""

    zone: str
    month: str
    intensity: Floats
    start: int
    hours: int

    @property
    def now(self) -> Floats:
        """The hours in which work may run."""
        return self.intensity[self.start : self.start + self.hours + WINDOW_H]


@dataclass(frozen=True, kw_only=True)
class Even:
    """The outlook where all requests are alike."""

    use: Use
    site: Site
    stretch: Stretch
    foresight: Foresight

    def demands(self, now: int, batches: Sequence[int], hours: int) -> Sequence[Demand]:
        at = self.stretch.start + now
        expected = np.append(self.stretch.intensity[at], self.foresight(at, hours - 1))
        device_s = np.full(hours, self.use.device_s)
        cost_g = self.site.cost_g(np.full(hours, self.use.energy_j), device_s, expected)
        return [Demand(device_s=device_s, cost_g=cost_g)] * len(batches)


@dataclass(frozen=True, kw_only=True)
class Deferral:
    """What is asked of a replay of deferral."""

    dataset: Path
    recorded: Path | None = None
    """Recorded forecasts to replay in place of the dataset's zone-months."""
    forecasts: tuple[Forecasts, ...] = ()
    """By default all that there are."""
    load: Load = field(default_factory=Load)
    zone: str | None = None
    month: str | None = None


def run(deferral: Deferral) -> list[Row]:
    """A row for every stretch and forecast, in that order.

    Raises:
        ConfigurationError: the dataset is missing.
        InvalidInput: a name or figure cannot be used.
    """
    dataset = load(deferral.dataset)
    use = mean_use(dataset)
    return [
        row(stretch, kind, defer(stretch, see, use, deferral.load), use, deferral.load)
        for stretch, sights in _stretches(deferral, dataset)
        for kind, see in sights.items()
    ]


def mean_use(dataset: Dataset) -> Use:
    """Of a request without a directive, in the mean composition of the traffic."""
    shares = dataset.traffic.mean(axis=0)
    return Use(
        energy_j=float(shares @ dataset.means.energy_j[:, 0]), device_s=float(shares @ dataset.means.device_s[:, 0])
    )


def _stretches(deferral: Deferral, dataset: Dataset) -> Iterator[tuple[Stretch, Mapping[Forecasts, Foresight]]]:
    if deferral.recorded:
        recorded = read_forecasts(deferral.recorded)
        start, hours = PAST_DAYS * DAY_H, (len(recorded.blocks) - PAST_DAYS) * DAY_H
        if hours <= 0:
            raise InvalidInput(f"{deferral.recorded} has no more than {PAST_DAYS} days: nothing could be learnt first.")
        found = [Stretch(zone=recorded.name, month="", intensity=recorded.actual, start=start, hours=hours)]
    else:
        recorded = None
        found = [
            stretch_of(dataset, month.zone, month.month, month.start_hour, month.hours)
            for month in dataset.months_of(zone=deferral.zone, month=deferral.month)
        ]
    kinds = deferral.forecasts or (*OWN_FORECASTS, *([Forecasts.RECORDED] if recorded else []))
    for stretch in found:
        yield stretch, {kind: foresight(kind, stretch.intensity, recorded) for kind in kinds}


def stretch_of(dataset: Dataset, zone: str, month: str, start: int, hours: int) -> Stretch:
    """A zone-month; work stops arriving a completion window before the end of what is recorded."""
    series = dataset.intensity[zone]
    hours = min(hours, len(series) - start - WINDOW_H)
    if hours <= 0:
        raise InvalidInput(f"{zone}, {month}: too little is recorded to defer work for {WINDOW_H} hours.")
    return Stretch(zone=zone, month=month, intensity=series, start=start, hours=hours)


def defer(stretch: Stretch, see: Foresight, use: Use, load: Load) -> Rolling:
    batches, site = load.batches(stretch.hours), load.site(use.device_s)
    rolling = Rolling(
        batches=batches,
        used_s=np.full((len(batches), len(stretch.now)), use.device_s),
        outlook=Even(use=use, site=site, stretch=stretch, foresight=see),
    )
    rolling.run(range(len(stretch.now)), measured=site.devices, devices=site.devices)
    return rolling


def row(stretch: Stretch, kind: Forecasts, rolling: Rolling, use: Use, load: Load) -> Row:
    site, hours = load.site(use.device_s), len(stretch.now)
    at_once = np.zeros(hours)
    for batch in rolling.batches:
        at_once[batch.at_h] += batch.requests.sum()
    schedules = (at_once, rolling.ran.sum(axis=0))
    attributed_g, total_g = (
        [figure(requests * use.energy_j, requests * use.device_s, stretch.now) for requests in schedules]
        for figure in (site.attributed_g, site.total_g)
    )
    return {
        "zone": stretch.zone,
        "month": stretch.month,
        "policy": "BASE",
        "schedule": Schedule.CARBON,
        "forecast": kind.value,
        **savings(attributed_g, total_g),
        **deadlines(rolling),
    }


def savings(attributed_g: Sequence[float], total_g: Sequence[float]) -> Row:
    """Each at once, and deferred; total: with idle machines, and the embodied carbon of all their time."""
    return {
        name: figure
        for prefix, (base, spent) in (("", attributed_g), ("total_", total_g))
        for name, figure in (
            (f"{prefix}base_g", base),
            (f"{prefix}saved_g", base - spent),
            (f"{prefix}saving", 1 - spent / base),
        )
    }


def deadlines(rolling: Rolling) -> Row:
    """Batches: how many there were, outlasted their window, and were told at admission that they might; and those
    that outlasted it though they were promised, at admission or later."""
    return {
        "batches": len(rolling.batches),
        "missed": int(rolling.missed.sum()),
        "told": int(rolling.told.sum()),
        "missed_promised": int((rolling.missed & rolling.promised).sum()),
    }
