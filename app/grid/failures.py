"""Which sources failed of late, so that they are left alone for a while."""

from __future__ import annotations

from datetime import datetime, timedelta
from weakref import WeakKeyDictionary

from app.ports import IntensityProvider

RETRY = timedelta(minutes=5)
"""After this a source is asked again: one that failed, and one whose present hour is missing or an estimate."""


class Failures:
    """Per source and zone, in this process alone: another one, or a restart, asks once to learn the same."""

    def __init__(self) -> None:
        self._last: WeakKeyDictionary[IntensityProvider, dict[str, datetime]] = WeakKeyDictionary()

    def note(self, provider: IntensityProvider, zone: str, now: datetime) -> None:
        self._last.setdefault(provider, {})[zone] = now

    def are_recent(self, provider: IntensityProvider, zone: str, now: datetime) -> bool:
        """Whether the source failed for this zone less than five minutes before `now`."""
        last = self._last.get(provider, {}).get(zone)
        return last is not None and last <= now < last + RETRY
