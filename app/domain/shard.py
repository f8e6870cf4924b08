"""Shards: the slices of a batch that one Celery task runs, and what a lost lease does to them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from app.domain.request import Request

URGENT = timedelta(hours=1)
"""A shard goes first from this long before its latest start: what is in the queue or runs already takes its time."""

LOSSES_BEFORE_HALVING = 2
LOSSES_BEFORE_POISON = 3


class ShardState(StrEnum):
    PENDING = "pending"
    LEASED = "leased"
    DONE = "done"


class Lines(NamedTuple):
    """A range of lines of an input file, and how many requests it holds: blank lines hold none."""

    first: int
    last: int
    requests: int


class Cutter:
    """Cuts requests into shards and counts those that are alike, while they pass.

    Args:
        size: requests in a shard; the last one may have fewer.
    """

    def __init__(self, size: int) -> None:
        self.ranges: list[Lines] = []
        self._size = size
        self._kinds: Counter[tuple[str, int | None]] = Counter()

    def passing(self, entries: Iterable[Request]) -> Iterator[Request]:
        """The same requests, in line order; what is counted is complete when they have all been taken."""
        first = last = held = 0
        for entry in entries:
            last = entry.line
            first = first if held else last
            held += 1
            self._kinds[entry.workload, entry.pinned_level] += 1
            if held == self._size:
                self.ranges.append(Lines(first, last, held))
                held = 0
            yield entry
        if held:
            self.ranges.append(Lines(first, last, held))

    @property
    def requests(self) -> int:
        return self._kinds.total()

    @property
    def composition(self) -> Sequence[Mapping[str, Any]]:
        """How many requests there are of each workload and pinned level, by name and level, as a batch keeps it."""
        ordered = sorted(self._kinds.items(), key=lambda kind: (kind[0][0], kind[0][1] is None, kind[0][1] or 0))
        return [{"workload": name, "pinned_level": level, "requests": number} for (name, level), number in ordered]


class AfterLoss(StrEnum):
    """What to do with a shard whose worker died."""

    RETRY = "retry"
    HALVE = "halve"
    POISON = "poison"


def fair_share(requests: int, workers: int) -> int:
    """How many of the requests that are left the next worker takes, so that all end at about the same time.

    Half of an equal part: pieces shrink towards the end, and one that lands on a slow worker is small by then. Source:
    factoring, Hummel, Schonberg and Flynn (1992).
    """
    return math.ceil(requests / (2 * workers))


def is_suspect(losses: int) -> bool:
    """Whether a shard must run alone in its worker, so that its next loss can only be its own."""
    return losses >= LOSSES_BEFORE_HALVING


def after_loss(*, losses: int, unanswered: int) -> AfterLoss:
    """Isolate the line that kills workers: halve until it stands alone, then give it up.

    Args:
        losses: leases lost by this shard and by the shards that it was halved from.
        unanswered: requests of the shard that have no result yet; answered ones are never run again.
    """
    if unanswered > 1:
        return AfterLoss.HALVE if losses >= LOSSES_BEFORE_HALVING else AfterLoss.RETRY
    return AfterLoss.POISON if losses >= LOSSES_BEFORE_POISON else AfterLoss.RETRY
