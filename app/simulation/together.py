"""Directives and deferral together, beside each alone.

In every hour the policy decides its mix as in the plain replay, and the work that runs in the hour is served with it,
whenever it arrived. What the planner expects of an hour to come is what the policy would decide at the intensity that
is forecast for it: asked at a few intensities every six hours, with what it knows by then, and interpolated between
them. It reckons with the uses of the requests that are learned from; what happens follows those that are scored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from app.domain.arrays import Floats
from app.domain.batch import Schedule
from app.domain.errors import InvalidInput
from app.domain.expected_use import UseCurve, use_curve
from app.domain.policy import Decision, Observation, Policy
from app.domain.work import Demand
from app.simulation import comparison as comparisons
from app.simulation.comparison import Comparison, Row, conditions_of, dataset_of, policy_of, row_of
from app.simulation.dataset import Recording, ZoneMonth
from app.simulation.deferral import Load, Stretch, deadlines, savings, stretch_of
from app.simulation.foresight import Forecasts, Foresight, foresight
from app.simulation.outcome import Bill, Evaluation, Outcome, at_l0
from app.simulation.partition import Partition, Workloads, cells, partition
from app.simulation.replay import Conditions, Month, replay
from app.simulation.rolling import Rolling
from app.simulation.site import Site

BASE = "BASE"
DEFERRABLE = (BASE, "CO2_OPT", "SPROUT_STA", "SPROUT", "OURS")
"""Policies that decide mixes by the hour."""

ASKED_EVERY_H = 6


@dataclass(kw_only=True)
class Asking:
    """A policy that is also asked what it would decide in other hours."""

    policy: Policy
    curves: list[UseCurve] = field(default_factory=list)
    """By hour."""

    @property
    def name(self) -> str:
        return self.policy.name

    def decide(self, seen: Observation) -> Decision:
        decision = self.policy.decide(seen)
        again = len(self.curves) % ASKED_EVERY_H == 0
        if again:
            self.curves.append(use_curve(self.policy, seen, least=min(seen.past), greatest=max(seen.past)))
        else:
            self.curves.append(self.curves[-1])
        return decision


@dataclass(frozen=True, kw_only=True)
class Expected:
    """The outlook where use follows the mix of the hour."""

    curves: Sequence[UseCurve]
    classes: Floats
    """Batches x C: share of each class."""
    site: Site
    stretch: Stretch
    foresight: Foresight

    def demands(self, now: int, batches: Sequence[int], hours: int) -> Sequence[Demand]:
        at, curve = self.stretch.start + now, self.curves[now]
        intensity = np.append(self.stretch.intensity[at], self.foresight(at, hours - 1))
        found = []
        for batch in batches:
            nodes_j, nodes_s = (table @ self.classes[batch] for table in (curve.energy_j, curve.device_s))
            energy_j, device_s = (np.interp(intensity, curve.intensity, nodes) for nodes in (nodes_j, nodes_s))
            cost_g = self.site.cost_g(energy_j, device_s, intensity)
            found.append(Demand(device_s=device_s, cost_g=cost_g, cleanest_s=float(nodes_s[0])))
        return found


@dataclass(frozen=True, kw_only=True)
class Served:
    """A policy over a zone-month: its mixes, and what it expected of other hours."""

    stretch: Stretch
    traffic: Floats
    """Hours x W, in which work arrives: shares."""
    classes: Floats
    """Hours x C: share of each class in what arrives, as those that are learned from have it."""
    bill: Bill
    mixes: Floats
    """For a completion window longer than the traffic."""
    curves: Sequence[UseCurve]
    evaluation: Evaluation
    load: Load

    @property
    def site(self) -> Site:
        """Machines for the busiest hour without directives: the same whatever the policy."""
        device_s = self.bill.uses(at_l0(self.mixes))[1][0]
        return self.load.site(float(np.max(self.traffic @ device_s)))

    @property
    def arrived(self) -> Floats:
        """Requests by hour and workload."""
        after = np.zeros((len(self.mixes) - len(self.traffic), self.traffic.shape[1]))
        return np.asarray(np.concatenate([self.traffic, after]) * self.load.requests_per_hour)

    def defer(self, see: Foresight) -> Rolling:
        site = self.site
        rolling = Rolling(
            batches=self.load.batches(len(self.traffic)),
            used_s=self.traffic @ self.bill.uses(self.mixes)[1].T,
            outlook=Expected(curves=self.curves, classes=self.classes, site=site, stretch=self.stretch, foresight=see),
        )
        rolling.run(range(len(self.mixes)), measured=site.devices, devices=site.devices)
        return rolling

    def outcome(self, served: Floats) -> Outcome:
        return self.bill.settle(
            arrived=self.arrived,
            served=served,
            mixes=self.mixes,
            intensity=self.stretch.now,
            evaluation=self.evaluation,
        )

    def device_s(self, served: Floats) -> float:
        """Mean of a request."""
        return float((served * self.bill.uses(self.mixes)[1]).sum() / served.sum())

    def grams(self, served: Floats, mixes: Floats) -> tuple[float, float]:
        """Attributed to the requests, and in all; without evaluation."""
        energy_j, device_s = ((served * each).sum(axis=1) for each in self.bill.uses(mixes))
        now = self.stretch.now
        return self.site.attributed_g(energy_j, device_s, now), self.site.total_g(energy_j, device_s, now)


def serve(
    policy: Policy,
    stretch: Stretch,
    traffic: Floats,
    fit: Recording,
    score: Recording,
    parts: Partition,
    conditions: Conditions,
    load: Load,
    rng: np.random.Generator,
) -> Served:
    """Decide every hour of the stretch; after the last arrival, for the last hour's composition."""
    asking = Asking(policy=policy)
    after = np.repeat(traffic[-1:], len(stretch.now) - len(traffic), axis=0)
    month = Month(
        intensity=stretch.intensity[: stretch.start + len(stretch.now)],
        start=stretch.start,
        traffic=np.concatenate([traffic, after]),
    )
    outcome = replay(asking, month, fit, score, parts, conditions, rng)
    return Served(
        stretch=stretch,
        traffic=traffic,
        classes=traffic @ cells(fit, parts.fit, len(parts.classes.names)),
        bill=Bill.of(score, parts, conditions.hardware),
        mixes=outcome.mixes,
        curves=asking.curves,
        evaluation=outcome.evaluation,
        load=load,
    )


def run(comparison: Comparison, load: Load, forecasts: Sequence[Forecasts], processes: int | None = None) -> list[Row]:
    """For every zone-month, policy and seed a row at once and one for each forecast (built-in), BASE with them.

    Raises:
        ConfigurationError: a dataset is missing.
        InvalidInput: a name or figure cannot be used.
    """
    if unfit := [name for name in comparison.policies if name not in DEFERRABLE]:
        raise InvalidInput(f"{', '.join(unfit)} cannot be replayed deferred: choose from {', '.join(DEFERRABLE)}.")
    asked = replace(comparison, policies=tuple(dict.fromkeys((BASE, *comparison.policies))))
    return comparisons.run(asked, processes, partial(_rows, load, tuple(forecasts) or (Forecasts.BUILT_IN,)))


def _rows(
    load: Load,
    forecasts: Sequence[Forecasts],
    comparison: Comparison,
    months: Sequence[ZoneMonth],
    seed: int,
    fit: Recording,
    score: Recording,
    parts: Partition,
) -> Iterator[Row]:
    dataset = dataset_of(comparison.dataset)
    whole = partition(fit, score, Workloads.NONE, strata=False)
    for month in months:
        stretch = stretch_of(dataset, month.zone, month.month, month.start_hour, month.hours)
        sights = {kind: foresight(kind, stretch.intensity) for kind in forecasts}
        for name in comparison.policies:
            served = serve(
                policy_of(name, comparison),
                stretch,
                dataset.traffic[: stretch.hours],
                fit,
                score,
                parts if name == "OURS" else whole,
                conditions_of(name, comparison.conditions),
                load,
                np.random.default_rng([seed, month.start_hour]),
            )
            for schedule, forecast, requests, kept in _scheduled(served, sights):
                outcome = served.outcome(requests)
                yield {
                    **row_of(comparison, month, name, seed, score, outcome),
                    "schedule": schedule,
                    "forecast": forecast,
                    "device_s_per_request": served.device_s(requests),
                    **_savings(served, requests),
                    **kept,
                }


def _scheduled(
    served: Served, sights: Mapping[Forecasts, Foresight]
) -> Iterator[tuple[Schedule, str | None, Floats, Row]]:
    """Schedule and forecast, the requests that ran by hour and workload, and what became of deadlines."""
    yield Schedule.ASAP, None, served.arrived, {}
    for kind, see in sights.items():
        rolling = served.defer(see)
        yield Schedule.CARBON, kind.value, rolling.ran.T @ served.traffic, deadlines(rolling)


def _savings(served: Served, requests: Floats) -> Row:
    """Against all of it at L0, at once; evaluation charged."""
    bases = served.grams(served.arrived, at_l0(served.mixes))
    spent = served.grams(requests, served.mixes)
    pairs = [(base, grams + served.evaluation.grams) for base, grams in zip(bases, spent, strict=True)]
    return savings(*pairs)
