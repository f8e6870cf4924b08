"""Units: joules inside, kilowatt-hours beside an intensity and on screen; times are UTC-aware."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from app.domain.errors import InvalidInput

JOULES_PER_KWH = 3_600_000.0


def kwh(energy_j: float) -> float:
    """Joules as kilowatt-hours."""
    return energy_j / JOULES_PER_KWH


def require_utc(moment: datetime) -> datetime:
    """`moment` itself, if it is UTC-aware.

    Raises:
        InvalidInput: it is naive or in another zone.
    """
    if moment.utcoffset() != timedelta(0):
        raise InvalidInput(f"{moment.isoformat()} is not a UTC time: write it with a Z.")
    return moment


def hour_of(moment: datetime) -> datetime:
    """The start of the hour that contains `moment`."""
    return require_utc(moment).astimezone(UTC).replace(minute=0, second=0, microsecond=0)
