"""The life of a batch: OpenAI's eight statuses and the moves between them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum

from app.domain.errors import InvalidInput

COMPLETION_WINDOWS = (timedelta(hours=1), timedelta(days=7))
"""Shortest and longest completion window; OpenAI's own is `24h`."""

LONGEST_WINDOW_H = COMPLETION_WINDOWS[1] // timedelta(hours=1)
"""How far ahead forecasts reach."""


class Schedule(StrEnum):
    """When a batch runs within its completion window."""

    ASAP = "asap"
    """As soon as there is room."""
    CARBON = "carbon"
    """In the cleanest hours that are forecast, as far as its deadline allows."""


SCHEDULE_KEY = "sprout_schedule"
ZONES_KEY = "sprout_zones"
"""Metadata keys by which a batch chooses its schedule and says in which zones it may run."""


EVALUATION_KEY = "sprout_evaluation"
OPT_OUT = "off"
"""And that by which it keeps its prompts and answers from being judged."""


CACHE_KEY = "sprout_cache"
"""And that by which it takes known answers to the same deterministic requests of its tenant, and leaves its own."""


RUN_KEY = "sprout_key"
"""And that by which an interrupted command finds its batch again."""


PRIORITY_KEY = "sprout_priority"
PRIORITIES = range(-10, 11)
"""And that by which it goes before, or behind, the other batches of its tenant: a higher one first; 0 by default."""


def parse_priority(text: str) -> int:
    """Raises InvalidInput."""
    if re.fullmatch(r"-?[0-9]{1,2}", text) and int(text) in PRIORITIES:
        return int(text)
    raise InvalidInput(
        f"Invalid value: {text[:80]!r}. A priority is a whole number from {PRIORITIES[0]} to {PRIORITIES[-1]}; a "
        "higher one goes first.",
        param=f"metadata.{PRIORITY_KEY}",
    )


def parse_schedule(text: str) -> Schedule:
    """Raises InvalidInput."""
    try:
        return Schedule(text)
    except ValueError as exc:
        known = " and ".join(f"'{schedule}'" for schedule in Schedule)
        raise InvalidInput(
            f"Invalid value: {text[:80]!r}. Supported schedules are {known}.", param=f"metadata.{SCHEDULE_KEY}"
        ) from exc


def check_evaluation(text: str) -> None:
    """Raises InvalidInput for anything but `on` and `off`: a slip here would have private prompts judged."""
    if text not in ("on", OPT_OUT):
        raise InvalidInput(
            f"Invalid value: {text[:80]!r}. Say 'off' to keep the prompts of this batch from being judged, or 'on'.",
            param=f"metadata.{EVALUATION_KEY}",
        )


def check_cache(text: str) -> None:
    """Raises InvalidInput for anything but `on` and `off`."""
    if text not in ("on", "off"):
        raise InvalidInput(
            f"Invalid value: {text[:80]!r}. Say 'on' to have identical deterministic requests answered once, or 'off'.",
            param=f"metadata.{CACHE_KEY}",
        )


ANY_ZONE = "any"


def parse_zones(text: str | None, known: Sequence[str]) -> tuple[str, ...]:
    """`GB,FR`, or `any` for all that are known; none, for the default one, where nothing is said.

    Raises:
        InvalidInput: a zone that has no workers.
    """
    if text is None:
        return ()
    wanted = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    if wanted == (ANY_ZONE,):
        return tuple(known)
    if unknown := [name for name in wanted if name not in known]:
        raise InvalidInput(
            f"There are no workers in the zone {unknown[0][:80]!r}: choose among {', '.join(known)}, or say "
            f"'{ANY_ZONE}'. SPROUT_ZONES names them.",
            param=f"metadata.{ZONES_KEY}",
        )
    return wanted


def zone_within(allowed: Sequence[str], zone: str, home: str) -> str:
    """`zone` if a batch may run there, else the first in which it may; only the default one, `home`, if none is said.

    A batch may be kept in a zone for good reasons: without a worker there it waits, and does not run elsewhere.
    """
    within = allowed or (home,)
    return zone if zone in within else within[0]


class BatchStatus(StrEnum):
    VALIDATING = "validating"
    FAILED = "failed"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return not MOVES[self]


MOVES: dict[BatchStatus, frozenset[BatchStatus]] = {
    BatchStatus.VALIDATING: frozenset(
        {BatchStatus.IN_PROGRESS, BatchStatus.FAILED, BatchStatus.CANCELLING, BatchStatus.EXPIRED}
    ),
    BatchStatus.IN_PROGRESS: frozenset({BatchStatus.FINALIZING, BatchStatus.CANCELLING}),
    # Expiry passes through finalizing too: what was finished is kept, so its files are written first.
    BatchStatus.FINALIZING: frozenset({BatchStatus.COMPLETED, BatchStatus.EXPIRED}),
    BatchStatus.CANCELLING: frozenset({BatchStatus.CANCELLED}),
    BatchStatus.FAILED: frozenset(),
    BatchStatus.COMPLETED: frozenset(),
    BatchStatus.EXPIRED: frozenset(),
    BatchStatus.CANCELLED: frozenset(),
}


FINAL = tuple(status for status in BatchStatus if status.is_final)
"""Statuses of batches that have ended."""


def parse_completion_window(text: str) -> timedelta:
    """`24h`, `90h` or `7d` as a duration.

    Raises:
        InvalidInput: another form, or outside one hour to seven days.
    """
    match = re.fullmatch(r"([1-9]\d{0,2})([hd])", text)
    if match:
        amount = int(match[1])
        window = timedelta(hours=amount) if match[2] == "h" else timedelta(days=amount)
        shortest, longest = COMPLETION_WINDOWS
        if shortest <= window <= longest:
            return window
    raise InvalidInput(
        f"Invalid value: '{text}'. Supported values are whole hours or days from '1h' to '7d', such as '24h'.",
        param="completion_window",
    )
