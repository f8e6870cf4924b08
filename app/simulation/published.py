"""The published replay, reproduced with its flaws: `--as-published`, used for nothing else.

It differs from `app.simulation.replay` in what the authors' code did (github.com/boringlee24/EMNLP24_Sprout):

- phi takes the intensity's least and greatest over the whole year, so it sees the future;
- every hour draws 1 000 prompts by the traffic's composition and counts the judge's picks: those of an hour in which a
  round opens are what SPROUT decides with until the next, those of every hour are what it is scored with;
- mean energies are known from the start, over all measured requests, and evaluation costs nothing;
- the trigger compares neighbouring hours, below the month's mean (`PublishedTrigger`);
- SPROUT_STA plans with the mean intensity of the 30 days before the month, in the results of June and October; those of
  February agree better with the mean of the whole year;
- MODEL_OPT needs the smaller model's preference, which is not in the data: `RELATIVE_QUALITY` stands in for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from app.domain.arrays import Floats
from app.domain.attribution import Use
from app.domain.footprint import Hardware
from app.domain.oracle import deal
from app.domain.policy import Base, Co2Opt, Decision, Known, ModelOpt, Observation, Policy, sprout
from app.domain.preference import from_picks
from app.domain.trigger import PublishedTrigger
from app.domain.units import JOULES_PER_KWH
from app.simulation.dataset import Dataset, ZoneMonth

SERVICE = "service"
PROMPTS_A_ROUND = 1000
ORACLE_PROMPTS = 10_000
"""Prompts that the published code draws for SPROUT and for ORACLE every hour."""

RELATIVE_QUALITY = 0.73
"""q_7B / q_13B. Not measured: of the ratios in steps of 0.01, the one whose mean saving is nearest to the published."""

WHOLE_YEAR_START = 800
"""The month whose published SPROUT_STA agrees better with the mean intensity of the whole year."""
PAST_H = 720

PUBLISHED_NAMES: Mapping[str, str] = {
    "BASE": "baseline",
    "CO2_OPT": "co2opt",
    "MODEL_OPT": "clover",
    "SPROUT_STA": "static",
    "SPROUT": "lp",
    "ORACLE": "oracle",
}
"""What the result files call each policy."""


@dataclass(frozen=True, kw_only=True)
class PublishedOutcome:
    saving: float
    """Against BASE, of the month's mean grams per request."""
    preference: float | None
    """Mean over hours, relative to L0's of the same hour; None where the data has none."""
    realised_preference: float | None
    """What ORACLE's selection delivers, rather than what its programme promises; otherwise as `preference`."""
    grams_per_request: float
    rounds: int


class PublishedMonth:
    """One zone-month as the published code sees it, with one draw of its prompts."""

    def __init__(self, dataset: Dataset, month: ZoneMonth, *, xi: float, hardware: Hardware, seed: int) -> None:
        year = dataset.intensity[month.zone]
        self._dataset, self._xi, self._hardware = dataset, xi, hardware
        self._year, self._start = year, month.start_hour
        self._now = year[month.start_hour : month.start_hour + month.hours]
        self._traffic = dataset.traffic[: month.hours]
        self._rng = np.random.default_rng([seed, month.start_hour])
        self._picks = self._drawn_picks()
        self._rounds = PublishedTrigger(mean=float(self._now.mean())).rounds(self._now.tolist())
        means = dataset.means
        self._grams = self._hourly(means.energy_j, means.device_s)

    def run(self, name: str) -> PublishedOutcome:
        """The policy of that name."""
        if name == "ORACLE":
            return self._oracle()
        if name == "MODEL_OPT":
            return self._model_opt()
        policies: Mapping[str, Policy] = {"BASE": Base(), "CO2_OPT": Co2Opt(), "SPROUT": sprout(self._xi)}
        decided = self._static() if name == "SPROUT_STA" else self._decide(policies[name])
        rates = self._picks / self._picks.sum(axis=1, keepdims=True)
        preference = float(((rates * decided).sum(axis=1) / rates[:, 0]).mean())
        grams = float((self._grams * decided).sum(axis=1).mean())
        return self._outcome(grams, preference, preference, len(self._rounds) if name == "SPROUT" else 0)

    def _outcome(
        self, grams: float, preference: float | None, realised: float | None, rounds: int = 0
    ) -> PublishedOutcome:
        saving = 1 - grams / float(self._grams[:, 0].mean())
        return PublishedOutcome(
            saving=saving,
            preference=preference,
            realised_preference=realised,
            grams_per_request=grams,
            rounds=rounds,
        )

    def _drawn_picks(self) -> Floats:
        """Hours x L: how often each level was the pick among prompts drawn without repetition within an hour."""
        recording = self._dataset.recording
        rows = [np.flatnonzero(recording.workload == index) for index in range(len(recording.workloads))]
        picks = np.zeros((len(self._traffic), recording.levels))
        for hour, shares in enumerate(self._traffic):
            numbers = self._rng.multinomial(PROMPTS_A_ROUND, shares)
            drawn = [
                self._rng.choice(own, min(number, len(own)), replace=False)
                for own, number in zip(rows, numbers, strict=True)
            ]
            picks[hour] = np.bincount(recording.pick[np.concatenate(drawn)], minlength=recording.levels)
        return picks

    def _hourly(self, energy_j: Floats, device_s: Floats) -> Floats:
        """Hours x L: grams of a request of that hour's traffic; the figures are W x L."""
        operational = self._traffic @ energy_j / JOULES_PER_KWH * self._hardware.pue * self._now[:, None]
        return np.asarray(operational + self._traffic @ device_s * self._hardware.embodied_g_per_device_s)

    def _decide(self, policy: Policy) -> Floats:
        """Hours x L: the policy's mixes."""
        mixes, latest = [], self._picks[0]
        for hour in range(len(self._now)):
            if hour in self._rounds:
                latest = self._picks[hour]
            seen = self._seen(hour, float(self._now[hour]), latest.tolist())
            mixes.append(policy.decide(seen).mixes[SERVICE])
        return np.array(mixes)

    def _seen(self, hour: int, intensity: float, picks: Sequence[float]) -> Observation:
        means = self._dataset.means
        return self._observation(intensity, _weighted(self._traffic[hour], means.energy_j, means.device_s), picks)

    def _observation(self, intensity: float, uses: Mapping[int, Use], picks: Sequence[float] | None) -> Observation:
        quality = from_picks(picks) if picks else None
        known = Known(workload=SERVICE, floor=SERVICE, share=1.0, uses=uses, quality=quality, latest=quality)
        return Observation(
            intensity_g_per_kwh=intensity,
            past=self._year.tolist(),
            workloads=[known],
            levels=len(uses),
            hardware=self._hardware,
        )

    def _static(self) -> Floats:
        whole_year = self._start == WHOLE_YEAR_START
        before = self._year if whole_year else self._year[max(self._start - PAST_H, 0) : self._start]
        means = self._dataset.means
        uses = _weighted(self._traffic.mean(axis=0), means.energy_j, means.device_s)
        seen = self._observation(float(before.mean()), uses, self._picks.sum(axis=0).tolist())
        return np.tile(_mix(sprout(self._xi).decide(seen)), (len(self._now), 1))

    def _model_opt(self) -> PublishedOutcome:
        means = self._dataset.means
        energy_j = np.stack([means.energy_j[:, 0], means.small_energy_j], axis=1)
        device_s = np.stack([means.device_s[:, 0], means.small_device_s], axis=1)
        grams = self._hourly(energy_j, device_s)
        policy = ModelOpt(xi=self._xi, relative_quality=RELATIVE_QUALITY)
        mixes = []
        for hour, shares in enumerate(self._traffic):
            uses = _weighted(shares, energy_j, device_s)
            mixes.append(_mix(policy.decide(self._observation(float(self._now[hour]), uses, None))))
        return self._outcome(float((grams * np.array(mixes)).sum(axis=1).mean()), None, None)

    def _oracle(self) -> PublishedOutcome:
        recording = self._dataset.recording
        rows = [np.flatnonzero(recording.workload == index) for index in range(len(recording.workloads))]
        policy = sprout(self._xi)
        grams, promised, realised = [], [], []
        for hour, shares in enumerate(self._traffic):
            numbers = self._rng.multinomial(ORACLE_PROMPTS, shares)
            drawn = np.concatenate([self._rng.choice(own, number) for own, number in zip(rows, numbers, strict=True)])
            energy_j, device_s = recording.energy_j[drawn], recording.device_s[drawn]
            uses = _weighted(np.full(len(drawn), 1 / len(drawn)), energy_j, device_s)
            picks = np.bincount(recording.pick[drawn], minlength=recording.levels)
            mix = _mix(policy.decide(self._observation(float(self._now[hour]), uses, picks.tolist())))
            operational = energy_j / JOULES_PER_KWH * self._hardware.pue * self._now[hour]
            each = operational + device_s * self._hardware.embodied_g_per_device_s
            share, (first, second) = deal(mix, each, np.full(len(drawn), 1 / len(drawn)))
            grams.append((each[:, first] * (1 - share) + each[:, second] * share).mean())
            picked = np.eye(recording.levels)[recording.pick[drawn]]
            hit = (picked[:, first] * (1 - share) + picked[:, second] * share).sum()
            promised.append(float(np.dot(mix, picks)) / picks[0])
            realised.append(hit / picks[0])
        return self._outcome(float(np.mean(grams)), float(np.mean(promised)), float(np.mean(realised)))


def _weighted(shares: Floats, energy_j: Floats, device_s: Floats) -> dict[int, Use]:
    """Mean use by level (or model), of rows that weigh `shares`."""
    return {
        level: Use(energy_j=float(shares @ energy_j[:, level]), device_s=float(shares @ device_s[:, level]))
        for level in range(energy_j.shape[1])
    }


def _mix(decision: Decision) -> tuple[float, ...]:
    return decision.mixes[SERVICE]
