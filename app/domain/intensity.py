"""Carbon intensity of electricity: hours, traces and where they come from."""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.domain.errors import IntensityUnavailable, InvalidInput
from app.domain.units import require_utc

HOUR = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class IntensityPoint:
    """Mean intensity from `start` until the next point, at most one hour."""

    zone: str
    start: datetime
    intensity_g_per_kwh: float
    basis: str
    """Accounting basis, such as `lifecycle-average` or `direct-average`; figures of two bases are never summed."""
    provider: str

    def __post_init__(self) -> None:
        require_utc(self.start)
        if not 0 <= self.intensity_g_per_kwh < 10_000:
            raise InvalidInput(
                f"Carbon intensity of {self.intensity_g_per_kwh} gCO2eq/kWh at {self.start.isoformat()} in zone "
                f"{self.zone} is outside 0 to 10000: check the unit of the source."
            )


class IntensityTrace:
    """A past series of one zone. A lookup outside it, or inside a gap, raises: nothing is filled silently."""

    def __init__(self, points: Iterable[IntensityPoint]) -> None:
        self.points = tuple(points)
        self._starts = [point.start for point in self.points]
        if not self.points:
            raise InvalidInput("The intensity trace is empty: it needs at least one row.")
        if len({(point.zone, point.basis) for point in self.points}) > 1:
            raise InvalidInput("A trace holds one zone and one accounting basis: split the series first.")
        for earlier, later in zip(self._starts, self._starts[1:], strict=False):
            if later <= earlier:
                raise InvalidInput(f"The intensity trace is not ascending at {later.isoformat()}: sort it by time.")

    def at(self, moment: datetime) -> IntensityPoint:
        """The point whose hour contains `moment`.

        Raises:
            IntensityUnavailable: before the first point, after the last one's hour, or in a gap.
        """
        index = bisect.bisect_right(self._starts, require_utc(moment)) - 1
        if index < 0 or moment >= self._starts[index] + HOUR:
            raise IntensityUnavailable(
                f"The trace of zone {self.points[0].zone} has no value for {moment.isoformat()}: it covers "
                f"{self._starts[0].isoformat()} to {(self._starts[-1] + HOUR).isoformat()}, gaps left out."
            )
        return self.points[index]

    def between(self, start: datetime, end: datetime) -> tuple[IntensityPoint, ...]:
        """The points that start in [start, end)."""
        low = bisect.bisect_left(self._starts, require_utc(start))
        return self.points[low : bisect.bisect_left(self._starts, require_utc(end))]
