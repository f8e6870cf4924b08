"""Shards: the slices of a batch that one Celery task runs, and what a lost lease does to them."""

from __future__ import annotations

import math
from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple

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
