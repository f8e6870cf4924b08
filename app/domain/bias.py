"""What judges get wrong in known ways, measured from their own verdicts.

*Position.* A pair is judged in both orders. A judge that follows the place says "the first" twice, or "the second"
twice, and its verdict is a tie. Its position bias is the share of the former less that of the latter: 0 for a judge
that ignores the place, 1 for one that always takes the first. A bias that shifts single votes, or that decides only
between answers that are nearly as good, cancels between the two orders; a judge that follows the place whatever the
answers are turns clear preferences into ties, and draws its win rates towards one half by |bias|. Verdicts do not tell
which it is. So half of the latter is undone,

    u = 1/2 + (y - 1/2) / (1 - |bias| / 2),

which at a bias of 0.2 is off by a ninth of u - 1/2, one way or the other. One that decides verdicts leaves that much
less to be learned from each, so that what is learned counts with an error larger by 1 / (1 - |bias|). A judge that
mostly follows the place is not believed at all.

*Length.* Longer answers win more often with most judges. As in length-controlled win rates (Dubois et al.,
*Length-Controlled AlpacaEval*, 2024), the effect is estimated beside that of the level, by regressing the outcome y (1,
1/2, 0) on x = sign(length - length at L0) within each workload and level, over all of a judge's verdicts:

    y = u_wl + gamma x,    x in {-1, 0, 1}

and u_wl is the win rate at equal length. Verdicts that nobody was asked for take no part: that equal answers tie says
nothing of what length does. gamma is drawn towards 0 with a standard deviation of LENGTH_SD, because where a level is
always the shorter one nothing tells the two apart; what is not known of gamma is part of the error of u_wl.
The assumption, which nothing in the verdicts can prove: within one workload and level, longer is not in itself better.
Nor do they tell whether length shifts every vote, as above, or decides alone in a share 2 |gamma| of the pairs, which
also draws win rates towards one half: half of that is undone in the same way, by 1 / (1 - |gamma|).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.domain.judging import PEOPLE, REFERENCE
from app.domain.preference import Tally

TAKEN_AS_THEY_ARE = (PEOPLE, REFERENCE)
"""Judges whose verdicts are not corrected: people are what a judge is measured by, and whether an answer is right is no
matter of taste."""

LENGTH_SD = 0.1
"""Of gamma over judges, before anything is known of one. Large language models as judges give the longer answer about
5 to 15 points more (Dubois et al., 2024, section 2; Zheng et al., 2023, section 3.3)."""

LARGEST_POSITION_BIAS = 0.5
"""A judge that follows the place in more than half of its pairs is not believed."""

FEWEST_PAIRS = 20.0
"""Pairs in both orders before a judge may be disbelieved."""

LEAST_VARIANCE = 0.01
"""Of an outcome: a few equal verdicts do not mean that there is no chance in them."""


@dataclass(frozen=True, kw_only=True)
class Counted:
    """Verdicts of one judge on one level of one workload whose answer was longer, as long or shorter than L0's."""

    judge: str
    workload: str
    level: int
    longer: int
    """1, 0 or -1."""
    tally: Tally
    asked: bool = True
    """False where there was nothing to ask the judge: equal answers tie and empty ones lose, whatever its bias."""
    pairs: float = 0.0
    """Those of them that were judged in both orders."""
    first_twice: float = 0.0
    """Those in which the first was preferred in both."""
    second_twice: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Bias:
    """Of one judge; shares, not percent."""

    verdicts: float
    position: float = 0.0
    """From -1, always the second, to 1, always the first."""
    pairs: float = 0.0
    length: float = 0.0
    """gamma: how much more often an answer wins for being longer."""
    length_sd: float = LENGTH_SD

    @property
    def is_believed(self) -> bool:
        return self.pairs < FEWEST_PAIRS or abs(self.position) <= LARGEST_POSITION_BIAS

    def corrected(self, tally: Tally, longer: float) -> Tally:
        """Verdicts of this judge on a level of a workload without its bias; `longer` is the mean of x over them, 0
        where it was not asked.

        Of a judge that follows the place as many as would have the same error if it did not: fewer than were given.
        What is not known of gamma is an error that they have in common.
        """
        if not tally.verdicts or not self.is_believed:
            return Tally()
        above = _score(tally) / tally.verdicts - self.length * longer - 0.5
        score = min(max(0.5 + above / self._kept, 0.0), 1.0)
        verdicts = tally.verdicts * (1 - abs(self.position)) ** 2 * (1 - abs(self.length)) ** 2
        # What was a tie stays one, as far as the score leaves room for it.
        ties = min(tally.ties / tally.verdicts, 2 * score, 2 * (1 - score))
        return Tally(
            wins=(score - ties / 2) * verdicts,
            ties=ties * verdicts,
            losses=(1 - score - ties / 2) * verdicts,
            common_sd=abs(longer) * self.length_sd / self._kept,
        )

    def expected(self, win_rate: float, longer: float) -> float | None:
        """The mean score, 0 to 1, of verdicts of this judge that `corrected` takes for `win_rate`; None if it is not
        believed."""
        if not self.is_believed:
            return None
        return min(max(0.5 + (win_rate - 0.5) * self._kept + self.length * longer, 0.0), 1.0)

    @property
    def _kept(self) -> float:
        """The part that this judge's scores show of what a win rate differs from one half by."""
        return (1 - abs(self.position) / 2) * (1 - abs(self.length))


def corrected(counted: Sequence[Counted]) -> Mapping[tuple[str, int], Tally]:
    """Verdicts of all judges that are believed, per workload and level, each without its judge's bias."""
    known = biases(counted)
    cells: dict[tuple[str, str, int], list[Counted]] = {}
    for count in counted:
        cells.setdefault((count.judge, count.workload, count.level), []).append(count)
    found: dict[tuple[str, int], Tally] = {}
    for (judge, workload, level), members in cells.items():
        tally = sum((member.tally for member in members), Tally())
        if not tally.verdicts:
            continue
        longer = sum(member.longer * member.tally.verdicts for member in members if member.asked) / tally.verdicts
        own = tally if is_taken_as_it_is(judge) else known[judge].corrected(tally, longer)
        found[workload, level] = found.get((workload, level), Tally()) + own
    return found


def is_taken_as_it_is(judge: str) -> bool:
    """`judge` is its kind, and behind a colon its model if it has one."""
    return judge.partition(":")[0] in TAKEN_AS_THEY_ARE


def biases(counted: Sequence[Counted]) -> Mapping[str, Bias]:
    """By judge."""
    by_judge: dict[str, list[Counted]] = {}
    for count in counted:
        by_judge.setdefault(count.judge, []).append(count)
    return {judge: _bias(counts) for judge, counts in by_judge.items()}


def _bias(counts: Sequence[Counted]) -> Bias:
    pairs = sum(count.pairs for count in counts)
    followed = sum(count.first_twice - count.second_twice for count in counts)
    length, length_sd = _length(counts)
    return Bias(
        verdicts=sum(count.tally.verdicts for count in counts),
        position=followed / pairs if pairs else 0.0,
        pairs=pairs,
        length=length,
        length_sd=length_sd,
    )


def _length(counts: Sequence[Counted]) -> tuple[float, float]:
    """gamma and its standard deviation: least squares within cells, with a normal prior around 0."""
    cells: dict[tuple[str, int], list[Counted]] = {}
    for count in counts:
        if count.asked:
            cells.setdefault((count.workload, count.level), []).append(count)
    xx = xy = yy = weight = 0.0
    for members in cells.values():
        number = sum(member.tally.verdicts for member in members)
        if not number:
            continue
        x = sum(member.longer * member.tally.verdicts for member in members) / number
        y = sum(_score(member.tally) for member in members) / number
        xx += sum((member.longer - x) ** 2 * member.tally.verdicts for member in members)
        xy += sum((member.longer - x) * (_score(member.tally) - y * member.tally.verdicts) for member in members)
        yy += sum(
            member.tally.wins + member.tally.ties / 4 - 2 * y * _score(member.tally) + y**2 * member.tally.verdicts
            for member in members
        )
        weight += number
    if not weight:
        return 0.0, LENGTH_SD
    noise = max(yy / weight, LEAST_VARIANCE)
    known = xx + noise / LENGTH_SD**2
    return xy / known, (noise / known) ** 0.5


def _score(tally: Tally) -> float:
    return tally.wins + tally.ties / 2
