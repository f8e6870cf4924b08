"""Tenants: what their keys may do, and how much they may use."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from app.domain.errors import InvalidInput

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
"""Of a tenant."""


class Scope(StrEnum):
    """What a key may do, in its own tenant."""

    READ = "batches:read"
    """See files, batches, results, reports, and what is decided about them."""
    WRITE = "batches:write"
    """Upload, create, change, cancel and delete."""
    VOTE = "votes"
    """See sampled prompts with two answers, and vote on them."""
    OPERATE = "operator"
    """See figures of the whole installation."""


EVERYTHING = frozenset(Scope)
USUAL = (Scope.READ, Scope.WRITE)
"""Of a key that is made without stating any."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a tenant may use; None is no limit.

    Raises:
        InvalidInput: one is negative, or no number that can be stored.
    """

    queued_requests: int | None = None
    """Unanswered requests in open batches."""
    batches_per_hour: int | None = None
    """Created within the last 60 minutes."""
    tokens_per_day: int | None = None
    """Of prompts and answers, in the present hour and the 23 before it."""
    carbon_g_per_month: float | None = None
    """gCO2eq of what was answered in the calendar month, in UTC."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not (0 <= value < 2**62 and math.isfinite(value)):
                raise InvalidInput(f"{name.replace('_', ' ')} is a number from 0 on, not {value}.", param=name)


def check_name(name: str) -> None:
    """Raises InvalidInput."""
    if not re.fullmatch(NAME, name):
        raise InvalidInput(
            f"{name!r} is no name of a tenant: use up to 64 letters, digits, '-', '_' and '.', the first a letter or "
            "digit."
        )


def check_weight(weight: float) -> None:
    """Raises InvalidInput."""
    if not 0.001 <= weight <= 1000:
        raise InvalidInput(f"A weight is a number from 0.001 to 1000, not {weight:g}.")


def month_of(moment: datetime) -> datetime:
    """Its start, in UTC."""
    return moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def next_month(moment: datetime) -> datetime:
    return month_of(month_of(moment) + timedelta(days=32))
