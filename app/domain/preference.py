"""Quality of a level relative to L0, with its uncertainty, from verdicts and, where declared, from a prior.

The optimizer needs q_0, the quality of L0, and the difference q_l - q_0 for every other level. Two measures of q:

- the *win rate against L0*, in live service: q_l = P(l beats L0) + P(tie) / 2, so q_0 = 1/2 exactly. Linear in a mix,
  unaffected by further levels; 0.5 means "as good as no directive".
- the *preference rate* of Li et al., EMNLP 2024, section 3.3: the share of prompts for which the judge picked level l
  as best of all levels. Kept for the replay of their measurements, which record nothing else.

It is the difference that is bounded, not each rate: the errors of q_l and q_0 are not independent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from scipy.special import ndtri

from app.domain.errors import InvalidInput

EVEN = 0.5
"""The win rate of L0 against itself."""

PSEUDO_VERDICTS = 0.5
"""Jeffreys' prior: half a verdict for every outcome."""


PARTIAL_POOLING = 30.0
"""Verdicts of its own at which a stratum counts as much as the workload it belongs to. On the paper's measurements 30,
50 and 100 differ by less than the spread between halves."""


class Evidence(StrEnum):
    """What a quality figure rests on; shown wherever the figure is."""

    MEASURED = "measured"
    MIXED = "fewer verdicts than the prior stands for"
    PRIOR = "prior, not measured"
    NONE = "none"


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Verdicts of one level against L0 in one workload; fractions where verdicts have faded."""

    wins: float = 0.0
    ties: float = 0.0
    losses: float = 0.0
    common_sd: float = 0.0
    """Of what their win rate may be off by in common: an error that more verdicts of the kind would not lessen."""

    @property
    def verdicts(self) -> float:
        return self.wins + self.ties + self.losses

    def __add__(self, other: Tally) -> Tally:
        total = self.verdicts + other.verdicts
        common = self.common_sd * self.verdicts + other.common_sd * other.verdicts
        return Tally(
            wins=self.wins + other.wins,
            ties=self.ties + other.ties,
            losses=self.losses + other.losses,
            common_sd=common / total if total else 0.0,
        )


@dataclass(frozen=True, kw_only=True)
class Prior:
    """Declared beliefs that stand in until a workload has evidence of its own."""

    name: str
    tallies: tuple[Tally, ...]
    """Pseudo-verdicts per level, L0 first."""
    relative_energy: tuple[float, ...]
    """Energy of a request per level, relative to L0."""
    relative_time: tuple[float, ...]


def _pseudo_verdicts(win_rate: float, weight: float = 10.0) -> Tally:
    return Tally(wins=win_rate * weight, losses=(1 - win_rate) * weight)


PAPER_PRIOR = Prior(
    name="paper",
    # GPT-4 picked the answer of L0, L1, L2 as best for 2239, 2042 and 1600 of 5881 prompts (the authors' published
    # measurements, the half that is at hand); a pick among three becomes a win rate against L0 by Luce's choice axiom.
    tallies=(Tally(), _pseudo_verdicts(2042 / (2042 + 2239)), _pseudo_verdicts(1600 / (1600 + 2239))),
    # Llama 2 13B: means of 16148 requests per level, 335.5, 78.0 and 52.1 mWh, 4.857, 1.131 and 0.756 s.
    relative_energy=(1.0, 0.2326, 0.1554),
    relative_time=(1.0, 0.2329, 0.1556),
)


def faded(*, age_s: float, half_life_s: float) -> float:
    """Weight of a verdict of this age: 2^(-age / half-life), 1 when new."""
    return float(2.0 ** (-max(age_s, 0.0) / half_life_s))


@dataclass(frozen=True, kw_only=True)
class Gain:
    """q_l - q_0 of one level: posterior mean and standard deviation."""

    mean: float
    sd: float
    verdicts: float
    evidence: Evidence
    prior_verdicts: float = 0.0
    """Pseudo-verdicts of a declared prior that stand behind it."""

    def claim(self, confidence: float) -> float:
        """The difference that may be counted on: with this probability the true one is not smaller.

        mean - z sd, the normal approximation of the posterior; `confidence` 0.5 claims the mean itself. With few
        verdicts the claim is far below zero, so that a workload stays near L0 until there is evidence.
        """
        return self.mean - float(ndtri(confidence)) * self.sd


@dataclass(frozen=True, kw_only=True)
class Quality:
    """What is known of the answers of one workload."""

    base: float
    """q_0, greater than 0."""
    gains: Mapping[int, Gain]
    """By level; levels without evidence are absent, and so is L0, whose gain is 0 by definition."""


def from_tally(tally: Tally, prior: Tally | None) -> Gain | None:
    """Gain in the win rate against L0; None when nothing is known.

    With verdicts: the Beta posterior (Jeffreys, ties counted half to each side, pseudo-verdicts of a prior included),
    and what they have in common to err by.
    Without verdicts: the declared prior's mean, marked as such and taken as it is.
    """
    if tally.verdicts > 0:
        total = tally + (prior or Tally())
        a = PSEUDO_VERDICTS + total.wins + total.ties / 2
        b = PSEUDO_VERDICTS + total.losses + total.ties / 2
        outweighed = prior is None or tally.verdicts >= prior.verdicts
        return Gain(
            mean=a / (a + b) - EVEN,
            sd=(a * b / (a + b + 1) / (a + b) ** 2 + total.common_sd**2) ** 0.5,
            verdicts=tally.verdicts,
            evidence=Evidence.MEASURED if outweighed else Evidence.MIXED,
            prior_verdicts=prior.verdicts if prior else 0.0,
        )
    if prior is not None and prior.verdicts > 0:
        mean = (prior.wins + prior.ties / 2) / prior.verdicts
        return Gain(mean=mean - EVEN, sd=0.0, verdicts=0.0, evidence=Evidence.PRIOR, prior_verdicts=prior.verdicts)
    return None


def from_picks(picks: Sequence[float]) -> Quality | None:
    """Preference rates from how often each level was picked, L0 first; None without a pick.

    The Dirichlet posterior under Jeffreys' prior. With rates q and total weight A (prior included), the difference of
    two rates has the exact variance (q_l + q_0 - (q_l - q_0)^2) / (A + 1).

    Raises:
        InvalidInput: a number of picks is negative or not finite.
    """
    if not all(0 <= count < float("inf") for count in picks):
        raise InvalidInput(f"Picks per level must be finite and not negative, not {list(picks)}.")
    if sum(picks) <= 0:
        return None
    total = sum(picks) + PSEUDO_VERDICTS * len(picks)
    base, *others = ((count + PSEUDO_VERDICTS) / total for count in picks)
    gains = {
        level: Gain(
            mean=rate - base,
            sd=((rate + base - (rate - base) ** 2) / (total + 1)) ** 0.5,
            verdicts=sum(picks),
            evidence=Evidence.MEASURED,
        )
        for level, rate in enumerate(others, start=1)
    }
    return Quality(base=base, gains=gains)


def pooled(qualities: Sequence[Quality], shares: Sequence[float], floors: Sequence[str]) -> Quality:
    """The quality of several workloads taken as one, weighted by their shares of the traffic.

    A level that one of them knows nothing of is left out. Verdicts of different workloads are independent, so their
    variances add up with the squares of the shares. Strata of one workload (the same of `floors`) share its verdicts
    and its uncertainty: these count once, and add up as they are.
    """
    total = sum(shares)
    weights = [share / total if total else 1 / len(shares) for share in shares]
    common = set.intersection(*(set(quality.gains) for quality in qualities))
    gains = {}
    for level in sorted(common):
        parts = [quality.gains[level] for quality in qualities]
        sds, verdicts = dict.fromkeys(floors, 0.0), dict.fromkeys(floors, 0.0)
        for floor, weight, part in zip(floors, weights, parts, strict=True):
            sds[floor] += weight * part.sd
            verdicts[floor] = max(verdicts[floor], part.verdicts)
        gains[level] = Gain(
            mean=sum(weight * part.mean for weight, part in zip(weights, parts, strict=True)),
            sd=sum(sd**2 for sd in sds.values()) ** 0.5,
            verdicts=sum(verdicts.values()),
            prior_verdicts=sum(part.prior_verdicts for part in parts),
            evidence=weakest(part.evidence for part in parts),
        )
    return Quality(base=sum(w * quality.base for w, quality in zip(weights, qualities, strict=True)), gains=gains)


def stratified(whole: Quality, parts: Sequence[Quality | None]) -> Sequence[Quality]:
    """The qualities of a workload's strata, from the workload's own and what each stratum's verdicts say alone.

    A stratum has few verdicts, so its difference to L0 is drawn towards the workload's as if PARTIAL_POOLING of its
    verdicts had said the same as all (partial pooling; the posterior mean under a prior centred on the whole). Those
    with verdicts are shifted so that, weighted by them, they still add up to the workload's; those without are taken to
    be as the workload. Strata share its uncertainty: the floor is the workload's.
    """
    gains: list[dict[int, Gain]] = [{} for _ in parts]
    for level, common in whole.gains.items():
        own = [part.gains.get(level) if part else None for part in parts]
        verdicts = [gain.verdicts if gain else 0.0 for gain in own]
        drawn = [
            (gain.verdicts * gain.mean + PARTIAL_POOLING * common.mean) / (gain.verdicts + PARTIAL_POOLING)
            if gain
            else common.mean
            for gain in own
        ]
        total = sum(verdicts)
        shift = common.mean - sum(n * mean for n, mean in zip(verdicts, drawn, strict=True)) / total if total else 0.0
        for index, mean in enumerate(drawn):
            gains[index][level] = replace(common, mean=mean + (shift if verdicts[index] else 0.0))
    return [Quality(base=whole.base, gains=found) for found in gains]


_WEAKEST_FIRST = (Evidence.PRIOR, Evidence.MIXED, Evidence.MEASURED)


def weakest(kinds: Iterable[Evidence]) -> Evidence:
    """A figure is only as well founded as the weakest of what it rests on; NONE when it rests on nothing."""
    found = set(kinds)
    return next((kind for kind in _WEAKEST_FIRST if kind in found), Evidence.NONE)
