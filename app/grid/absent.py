"""A source that cannot be used, for as long as that lasts."""

from __future__ import annotations

from datetime import datetime
from typing import Never

from app.domain.errors import IntensityUnavailable
from app.domain.intensity import Basis


class AbsentProvider:
    """Answers nothing, and says why: what is stored has to serve meanwhile."""

    name = "absent"

    def __init__(self, reason: str, *, basis: Basis) -> None:
        self._reason = reason
        self.basis = basis

    def fetch(self, zone: str, start: datetime, end: datetime) -> Never:
        raise IntensityUnavailable(self._reason)

    def forecast(self, zone: str, now: datetime) -> Never:
        raise IntensityUnavailable(self._reason)
