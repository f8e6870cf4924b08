"""Hours out of whatever steps a source has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from app.domain.errors import IntensityUnavailable
from app.domain.intensity import HOUR, Forecast, IntensityPoint
from app.domain.units import hour_of, require_utc

ZONES = "set SPROUT_ZONE, or SPROUT_ZONES"
SKEW = timedelta(hours=1)
"""By which a source's clock may be ahead of this machine's."""


def hours_in(start: datetime, end: datetime) -> Sequence[datetime]:
    """The hours that start in [start, end).

    Raises:
        InvalidInput: a moment is not UTC.
    """
    first = hour_of(start)
    if first < start:
        first += HOUR
    return [first + hour * HOUR for hour in range(max(0, -((first - require_utc(end)) // HOUR)))]


def spans(hours: Sequence[datetime], longest: timedelta) -> Iterator[tuple[datetime, datetime]]:
    """[start, end) of consecutive questions that together cover `hours`, each at most `longest`."""
    step = longest // HOUR
    for index in range(0, len(hours), step):
        part = hours[index : index + step]
        yield part[0], part[-1] + HOUR


def hourly(points: Iterable[IntensityPoint], *, parts: int = 1) -> Sequence[IntensityPoint]:
    """One point per hour, ascending: the mean of its known parts, of which a whole hour has at least `parts`.

    It is estimated if a part is, or if parts are missing: they may still come. Of two figures for one moment the later
    one in `points` counts.
    """
    by_hour: dict[datetime, dict[datetime, IntensityPoint]] = {}
    for point in points:
        by_hour.setdefault(hour_of(point.start), {})[point.start] = point
    return [_mean(hour, list(known.values()), parts) for hour, known in sorted(by_hour.items())]


def _mean(hour: datetime, known: Sequence[IntensityPoint], parts: int) -> IntensityPoint:
    return replace(
        known[0],
        start=hour,
        intensity_g_per_kwh=sum(point.intensity_g_per_kwh for point in known) / len(known),
        is_estimated=len(known) < parts or any(point.is_estimated for point in known),
    )


def forecast_of(points: Iterable[IntensityPoint], *, now: datetime, issued_at: datetime) -> Forecast | None:
    """The hours from the one that contains `now`, or from the next one, up to the first gap; None if there are none.

    Raises:
        IntensityUnavailable: it was issued in the future, and would be the newest one until then.
    """
    hours = {point.start: point for point in hourly(points)}
    start = hour_of(now) if hour_of(now) in hours else hour_of(now) + HOUR
    if start not in hours:
        return None
    first = hours[start]
    if issued_at > now + SKEW:
        raise IntensityUnavailable(
            f"{first.provider} dates its forecast of zone {first.zone} {iso(issued_at)}, and it is {iso(now)} here: "
            "check the clock of this machine."
        )
    figures: list[float] = []
    while start + len(figures) * HOUR in hours:
        figures.append(hours[start + len(figures) * HOUR].intensity_g_per_kwh)
    return Forecast(
        zone=first.zone,
        basis=first.basis,
        provider=first.provider,
        issued_at=min(issued_at, now),
        start=start,
        intensity_g_per_kwh=figures,
    )


def moment(text: str) -> datetime:
    """An ISO 8601 time in UTC; seconds may be missing, the offset may not.

    Raises:
        ValueError: it is none.
    """
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return found.astimezone(UTC)


def iso(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def number(value: object) -> float:
    """A JSON number; text and booleans are none.

    Raises:
        TypeError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r:.40} is not a number")
    return float(value)


def unknown_zone(api: str, zone: str, remedy: str) -> IntensityUnavailable:
    return IntensityUnavailable(f"{api} does not know the zone {zone}: {ZONES}, to {remedy}.")
