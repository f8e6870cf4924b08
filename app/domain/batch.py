"""The life of a batch: OpenAI's eight statuses and the moves between them."""

from __future__ import annotations

import re
from datetime import timedelta
from enum import StrEnum

from app.domain.errors import InvalidInput

COMPLETION_WINDOWS = (timedelta(hours=1), timedelta(days=7))
"""Shortest and longest completion window; OpenAI's own is `24h`."""


class Schedule(StrEnum):
    """When a batch runs within its completion window."""

    ASAP = "asap"
    """As soon as there is room."""
    CARBON = "carbon"
    """In the cleanest hours that are forecast, as far as its deadline allows."""


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
