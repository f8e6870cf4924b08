"""Forecasts of carbon intensity: stored as they are issued, put together into one series, and scored."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

import numpy as np
from sqlalchemy import Connection

from app.domain.arrays import Floats
from app.domain.batch import LONGEST_WINDOW_H
from app.domain.errors import IntensityUnavailable, SproutError
from app.domain.forecast import LONGEST_PAST_H, forecast, mape
from app.domain.intensity import HOUR, Basis, Forecast
from app.domain.units import hour_of
from app.grid.failures import Failures
from app.ports import IntensityProvider
from app.services.context import Context
from app.settings import Settings
from app.store import forecasts, intensity
from app.store.forecasts import Score

log = logging.getLogger(__name__)
_failures = Failures()

BUILT_IN = "built-in"
"""The provider of forecasts that are learned from the stored past."""

PREFERRED = timedelta(hours=24)
"""A provider's own forecast goes before the built-in one while it is not older than this."""
SERVES = timedelta(days=7)
"""A forecast issued longer ago than this says nothing."""
KEPT = timedelta(days=35)
"""Forecasts are scored, and then deleted, over this time."""

LEADS_H = (1, 6, 12, 24, 48, 96)
"""Hours ahead at which forecasts are scored."""
ENOUGH_SCORES = 24
"""With fewer forecasts that met their figure, an error of theirs is chance."""

TESTED = "built-in, tested on the past"
TESTED_H, TEST_EVERY_H = 14 * 24, 6
FEWEST_PAST_H = 48
"""A forecast from less than two days says little of what later ones are worth."""


@dataclass(frozen=True, kw_only=True)
class ExpectedHour:
    start: datetime
    intensity_g_per_kwh: float
    provider: str
    issued_at: datetime | None
    """When it was forecast; None where it is known already, as the present hour may be."""


def refresh(context: Context, provider: IntensityProvider) -> int:
    """Once an hour, store each zone's forecasts: the provider's own, if it has one, and the built-in one.

    Both, so that both can be scored. Returns how many were stored.
    """
    settings, now = context.settings, context.clock.now()
    stored = 0
    for zone in settings.all_zones:
        with context.database.transaction() as connection:
            last = forecasts.last_issue(connection, zone, settings.basis, BUILT_IN, now)
            if last is not None and hour_of(now) <= last:
                continue
            learned = built_in(connection, settings.basis, zone, now)
        found = [issued for issued in (_own(context, provider, zone, now), learned) if issued]
        with context.database.transaction() as connection:
            for issued in found:
                forecasts.put(connection, issued)
            forecasts.forget(connection, now - KEPT)
        stored += len(found)
    return stored


def _own(context: Context, provider: IntensityProvider, zone: str, now: datetime) -> Forecast | None:
    """The provider's own forecast, if it can be used. A source that fails must not stop the other zones."""
    if _failures.are_recent(provider, zone, now):
        return None
    try:
        found = provider.forecast(zone, now)
        if found is not None:
            _check(provider, found, context.settings.basis, zone, now)
    except SproutError as exc:
        log.warning("forecast of zone %s: %s", zone, exc.message)
        _failures.note(provider, zone, context.clock.now())
        return None
    return found


def _check(provider: IntensityProvider, found: Forecast, basis: Basis, zone: str, now: datetime) -> None:
    """Raises IntensityUnavailable when it is another forecast than was asked for."""
    starts_well = hour_of(found.start) == found.start and found.end > now
    if (found.zone, found.basis) != (zone, basis) or not starts_well or found.issued_at > now:
        raise IntensityUnavailable(
            f"{provider.name} answered with a forecast of zone {found.zone}, {found.basis}, from "
            f"{found.start.isoformat()} to {found.end.isoformat()}, issued at {found.issued_at.isoformat()}, which is "
            f"not what was asked for at {now.isoformat()}."
        )


def built_in(connection: Connection, basis: Basis, zone: str, now: datetime) -> Forecast | None:
    """Learned from the stored past up to the present hour, if that is known; None without any past."""
    past = _past(connection, basis, zone, now)
    if past is None:
        return None
    hour = hour_of(now)
    is_known = not np.isnan(past[-1])
    return Forecast(
        zone=zone,
        basis=basis,
        provider=BUILT_IN,
        issued_at=now,
        start=hour + HOUR if is_known else hour,
        intensity_g_per_kwh=forecast(past if is_known else past[:-1], LONGEST_WINDOW_H).tolist(),
    )


def _past(connection: Connection, basis: Basis, zone: str, now: datetime) -> Floats | None:
    """The stored hours up to the present one, NaN where one is missing; None where all are."""
    hour = hour_of(now)
    points = intensity.between(connection, zone, basis, hour - LONGEST_PAST_H * HOUR, hour + HOUR)
    if not points:
        return None
    first = hour_of(points[0].start)
    past = np.full((hour - first) // HOUR + 1, np.nan)
    for point in points:
        past[(hour_of(point.start) - first) // HOUR] = point.intensity_g_per_kwh
    return past


def at(connection: Connection, basis: Basis, zone: str, now: datetime) -> ExpectedHour | None:
    """What a stored forecast expects of the present hour; None where none covers it."""
    found = forecasts.newest(connection, zone, basis, now - SERVES)
    return _expected(_ranked(found, now), hour_of(now))


def expected(
    connection: Connection, settings: Settings, zone: str, now: datetime, hours: int = LONGEST_WINDOW_H
) -> Sequence[ExpectedHour]:
    """Hour by hour from the present one on, `hours` at most: without a gap, and empty where nothing is known.

    The present hour has its own figure where that is stored. A coming hour has the provider's own forecast where that
    covers it, and the built-in one beyond.
    """
    hour = hour_of(now)
    ranked = _ranked(forecasts.newest(connection, zone, settings.basis, now - SERVES), now)
    known = intensity.latest(connection, zone, settings.basis, now)
    series: list[ExpectedHour] = []
    if known is not None and hour_of(known.start) == hour:
        grams, provider = known.intensity_g_per_kwh, known.provider
        series.append(ExpectedHour(start=hour, intensity_g_per_kwh=grams, provider=provider, issued_at=None))
    while len(series) < hours:
        following = _expected(ranked, hour + len(series) * HOUR)
        if following is None:
            break
        series.append(following)
    return series[:hours]


def _ranked(found: Iterable[Forecast], now: datetime) -> Sequence[Forecast]:
    """Best first: a provider's own while it is fresh, then whatever was issued last.

    What was issued before the clock was set back only serves where nothing else does.
    """

    def rank(issued: Forecast) -> tuple[bool, bool, datetime]:
        is_fresh = now - issued.issued_at <= PREFERRED
        return issued.issued_at <= now, issued.provider != BUILT_IN and is_fresh, issued.issued_at

    return sorted(found, key=rank, reverse=True)


def _expected(ranked: Iterable[Forecast], hour: datetime) -> ExpectedHour | None:
    for issued in ranked:
        if issued.start <= hour < issued.end:
            return ExpectedHour(
                start=hour,
                intensity_g_per_kwh=issued.intensity_g_per_kwh[(hour - issued.start) // HOUR],
                provider=issued.provider,
                issued_at=issued.issued_at,
            )
    return None


def scores(connection: Connection, settings: Settings, zone: str, now: datetime) -> Sequence[Score]:
    """How the zone's forecasts of the past 35 days turned out, per provider and lead time.

    As long as too few of the built-in one have met their figure, what it would have said in the past stands in, under a
    name of its own.
    """
    found = forecasts.scores(connection, zone, settings.basis, LEADS_H, now - KEPT)
    enough = {score.lead_h for score in found if score.provider == BUILT_IN and score.forecasts >= ENOUGH_SCORES}
    if enough == set(LEADS_H):
        return found
    past = _past(connection, settings.basis, zone, now)
    return found if past is None else [*found, *_tested_once(past.tobytes())]


@lru_cache(maxsize=16)
def _tested_once(past: bytes) -> Sequence[Score]:
    """As `tested`. Every plan asks, and the past changes once an hour."""
    return tested(np.frombuffer(past))


def tested(past: Floats) -> Sequence[Score]:
    """The built-in forecast at hours of the past two weeks, each from what came before, held against what followed."""
    issues = [
        issue
        for issue in range(len(past) - TESTED_H, len(past), TEST_EVERY_H)
        if issue >= FEWEST_PAST_H and not np.isnan(past[issue - 1])
    ]
    if not issues:
        return []
    leads = np.array(LEADS_H)
    expected = np.array([forecast(past[:issue], LEADS_H[-1])[leads - 1] for issue in issues])
    followed = np.append(past, np.full(LEADS_H[-1], np.nan))
    came = followed[np.array(issues)[:, np.newaxis] - 1 + leads]
    shares = mape(expected, came)
    columns = zip(LEADS_H, shares, expected.T, came.T, strict=True)
    return [_tested(lead, share, said, met) for lead, share, said, met in columns if not np.isnan(met).all()]


def _tested(lead_h: int, share: float, expected: Floats, came: Floats) -> Score:
    """Of one lead time; `came` has NaN where no figure did."""
    counted = ~np.isnan(came) & (expected > 0)
    errors = np.abs(expected[counted] - came[counted]) / expected[counted]
    return Score(
        provider=TESTED,
        lead_h=lead_h,
        forecasts=int((~np.isnan(came)).sum()),
        zero_hours=int((came == 0).sum()),
        mape=None if np.isnan(share) else float(share),
        error_90=float(np.quantile(errors, 0.9)) if len(errors) else None,
    )


def error_90(found: Iterable[Score], provider: str, lead_h: float) -> float | None:
    """Nine of ten figures differ from this provider's forecast, `lead_h` hours ahead, by at most this part of it.

    Taken at the least scored lead time that is not shorter, so that it is rather too great; beyond the longest, that
    one's. None while too few forecasts have met their figure.
    """
    own = _enough(found, provider)
    if provider == BUILT_IN and [score.lead_h for score in own] != list(LEADS_H):
        own = _enough(found, TESTED) or own
    longer = [score for score in own if score.lead_h >= lead_h]
    chosen = longer[0] if longer else own[-1] if own else None
    return chosen.error_90 if chosen else None


def _enough(found: Iterable[Score], provider: str) -> Sequence[Score]:
    """By lead time, those that rest on enough forecasts."""
    own = (score for score in found if score.provider == provider and score.forecasts >= ENOUGH_SCORES)
    return sorted(own, key=lambda score: score.lead_h)
