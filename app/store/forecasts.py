"""Forecasts of carbon intensity as they were issued, and how they turned out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, func, select, text
from sqlalchemy.dialects.postgresql import distinct_on, insert

from app.domain.intensity import Basis, Forecast
from app.store.knowledge import forecasts


def put(connection: Connection, forecast: Forecast) -> None:
    """Store a forecast; one of the same provider and issue time is replaced."""
    values = {
        "zone": forecast.zone,
        "basis": forecast.basis,
        "provider": forecast.provider,
        "issued_at": forecast.issued_at,
        "start_at": forecast.start,
        "intensity_g_per_kwh": [float(grams) for grams in forecast.intensity_g_per_kwh],
    }
    statement = insert(forecasts).values(values)
    statement = statement.on_conflict_do_update(
        index_elements=["zone", "basis", "provider", "issued_at"],
        set_={name: statement.excluded[name] for name in ("start_at", "intensity_g_per_kwh")},
    )
    connection.execute(statement)


def newest(connection: Connection, zone: str, basis: str, since: datetime) -> Sequence[Forecast]:
    """The newest forecast of each provider that was issued at or after `since`."""
    query = (
        select(forecasts)
        .where(forecasts.c.zone == zone, forecasts.c.basis == basis, forecasts.c.issued_at >= since)
        .ext(distinct_on(forecasts.c.provider))
        .order_by(forecasts.c.provider, forecasts.c.issued_at.desc())
    )
    return [
        Forecast(
            zone=row["zone"],
            basis=Basis(row["basis"]),
            provider=row["provider"],
            issued_at=row["issued_at"],
            start=row["start_at"],
            intensity_g_per_kwh=tuple(row["intensity_g_per_kwh"]),
        )
        for row in connection.execute(query).mappings()
    ]


def last_issue(connection: Connection, zone: str, basis: str, provider: str, now: datetime) -> datetime | None:
    """When its newest forecast was issued; what is later than `now` is from before the clock was set back."""
    query = select(func.max(forecasts.c.issued_at)).where(
        forecasts.c.zone == zone,
        forecasts.c.basis == basis,
        forecasts.c.provider == provider,
        forecasts.c.issued_at <= now,
    )
    return connection.execute(query).scalar()


def forget(connection: Connection, before: datetime) -> int:
    """Delete what was issued before that moment; returns how many forecasts."""
    return connection.execute(delete(forecasts).where(forecasts.c.issued_at < before)).rowcount


@dataclass(frozen=True, kw_only=True)
class Score:
    """How a provider's forecasts of one zone turned out, at one lead time."""

    provider: str
    lead_h: int
    """From the hour of issue to the hour that was forecast."""
    forecasts: int
    """How many of that lead met a figure."""
    zero_hours: int
    """Of these, how many met a figure of 0; they are no part of the percentage."""
    mape: float | None
    """Mean of |forecast - figure| / figure."""
    error_90: float | None
    """The 90 % quantile of |forecast - figure| / forecast: what a figure may differ by from what was forecast of it."""


_SCORES = text(
    """
    SELECT provider, lead_h, count(*) AS forecasts,
           count(*) FILTER (WHERE came = 0) AS zero_hours,
           avg(abs(expected - came) / nullif(came, 0)) AS mape,
           percentile_cont(0.9) WITHIN GROUP (ORDER BY abs(expected - came) / nullif(expected, 0)) AS error_90
    FROM (
        SELECT f.provider, lead_h, i.intensity_g_per_kwh AS came,
               f.intensity_g_per_kwh[1 + round(extract(epoch FROM i.start_at - f.start_at) / 3600)::int] AS expected
        FROM forecasts AS f
        CROSS JOIN unnest(CAST(:leads AS int[])) AS lead_h
        JOIN intensity AS i ON i.zone = f.zone AND i.basis = f.basis
             AND i.start_at = date_trunc('hour', f.issued_at, 'UTC') + lead_h * interval '1 hour'
        WHERE f.zone = :zone AND f.basis = :basis AND f.issued_at >= :since AND i.start_at >= f.start_at
    ) AS met
    WHERE expected IS NOT NULL
    GROUP BY provider, lead_h
    ORDER BY provider, lead_h
    """
)


def scores(connection: Connection, zone: str, basis: str, leads_h: Sequence[int], since: datetime) -> Sequence[Score]:
    """Forecasts issued at or after `since`, held against the figures that came: per provider and lead time."""
    values = {"zone": zone, "basis": basis, "leads": list(leads_h), "since": since}
    return [Score(**row) for row in connection.execute(_SCORES, values).mappings()]
