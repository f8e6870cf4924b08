"""What tables have in common: naming, and shorthands for columns."""

from __future__ import annotations

from sqlalchemy import Column, DateTime, MetaData, Text

from app.domain.batch import BatchStatus, Schedule
from app.domain.shard import ShardState

NAMING = {
    "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
}

metadata = MetaData(naming_convention=NAMING)


def one_of(column: str, values: type[BatchStatus] | type[Schedule] | type[ShardState] | tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(repr(str(value)) for value in values)})"


def time(name: str, *, nullable: bool = True, primary_key: bool = False) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=nullable and not primary_key, primary_key=primary_key)


def tenant() -> Column[str]:
    return Column("tenant_id", Text, nullable=False)
