"""The whole schema. Alembic's migrations build it; a test holds the two against each other."""

from __future__ import annotations

from app.store import accounts, columns, knowledge, outbox, quality, tables

TABLES = (tables, knowledge, quality, outbox, accounts)
"""The modules whose tables `metadata` holds: of work and what it used, of what is known, of quality, of webhooks, and
of tenants."""

metadata = columns.metadata
