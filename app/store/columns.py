"""What tables have in common: naming, shorthands for columns, and how rows fade."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Column, ColumnElement, DateTime, Float, MetaData, Text, cast, extract, func, literal

NAMING = {
    "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
}

metadata = MetaData(naming_convention=NAMING)


def one_of(column: str, values: Iterable[str]) -> str:
    return f"{column} IN ({', '.join(repr(str(value)) for value in values)})"


def time(name: str, *, nullable: bool = True, primary_key: bool = False) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=nullable and not primary_key, primary_key=primary_key)


def tenant() -> Column[str]:
    return Column("tenant_id", Text, nullable=False)


MOST_HALF_LIVES = 1000.0
"""PostgreSQL calls a power that is too small for a number an error; 2^-1000 is nothing as it is."""


def faded(
    moment: ColumnElement[object], now: datetime | ColumnElement[datetime], half_life_s: float
) -> ColumnElement[float]:
    """Weight of a row of that moment: 2^(-age / half-life), as in `app.domain.preference.faded`."""
    then = literal(now) if isinstance(now, datetime) else now
    age_s = func.greatest(cast(extract("epoch", then - moment), Float), 0.0)
    return func.power(2.0, -func.least(age_s / half_life_s, MOST_HALF_LIVES), type_=Float)
