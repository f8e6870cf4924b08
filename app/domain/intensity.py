"""Carbon intensity of electricity: hours, traces, forecasts, and on what accounting basis they stand."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from app.domain.errors import IntensityUnavailable, InvalidInput, MixedBases
from app.domain.units import require_utc

HOUR = timedelta(hours=1)


class Basis(StrEnum):
    """What a figure counts: the whole life cycle of power plants or their combustion only, of the average kilowatt-hour
    or of the next one. Figures of two bases are never summed: the same hour can read 75 on one and 20 on another."""

    LIFECYCLE_AVERAGE = "lifecycle-average"
    DIRECT_AVERAGE = "direct-average"
    DIRECT_MARGINAL = "direct-marginal"


def one_basis(bases: Iterable[str]) -> str:
    """The basis that all figures of a sum share; empty names, of figures that are 0 because nothing ran, do not count.

    Raises:
        MixedBases: there are several.
    """
    found = sorted({basis for basis in bases if basis})
    if len(found) > 1:
        raise MixedBases(
            f"Figures on the bases {' and '.join(found)} cannot be summed: SPROUT_INTENSITY_BASIS was changed between "
            "them."
        )
    return found[0] if found else ""


class Origin(StrEnum):
    """How the figure of an hour was had, best first; each stands in where those before it are missing."""

    MEASURED = "measured"
    ESTIMATED = "estimated"
    """The provider's own estimate, which it may revise."""
    LAST_GOOD = "last good"
    """An hour's that is a little older."""
    FORECAST = "forecast"
    ZONE_MEAN = "zone mean"
    """Of the past 30 days."""
    STATIC = "static"
    """SPROUT_STATIC_INTENSITY."""


@dataclass(frozen=True, kw_only=True)
class IntensityPoint:
    """Mean intensity from `start` until the next point, at most one hour."""

    zone: str
    start: datetime
    intensity_g_per_kwh: float
    basis: Basis
    provider: str
    is_estimated: bool = False
    """Whether the provider may still revise it."""

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


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What was expected of a zone's coming hours when the forecast was issued."""

    zone: str
    basis: Basis
    provider: str
    """`built-in`, or the provider whose own it is."""
    issued_at: datetime
    start: datetime
    """Of the first hour."""
    intensity_g_per_kwh: Sequence[float]
    """Hour by hour, without a gap."""

    def __post_init__(self) -> None:
        require_utc(self.issued_at)
        require_utc(self.start)
        if not self.intensity_g_per_kwh or not all(0 <= grams < 10_000 for grams in self.intensity_g_per_kwh):
            raise InvalidInput(
                f"The forecast of zone {self.zone} by {self.provider} is empty or has figures outside 0 to 10000 "
                "gCO2eq/kWh: check the unit of the source."
            )

    @property
    def end(self) -> datetime:
        return self.start + len(self.intensity_g_per_kwh) * HOUR
