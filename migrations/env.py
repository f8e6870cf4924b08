"""Alembic's entry point: one transaction, one migrator at a time, bounded waiting."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, text

from app.store.schema import metadata

ADVISORY_LOCK = 0x5370726F7574  # "Sprout": two migrators wait for each other instead of colliding


def run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=metadata, compare_server_default=True)
    with context.begin_transaction():
        connection.execute(text("SET LOCAL statement_timeout = '15min'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
        connection.execute(text("SET LOCAL lock_timeout = '10s'"))
        context.run_migrations()


run(context.config.attributes["connection"])
