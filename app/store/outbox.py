"""The tables of webhooks: who wants to be told, and what has not been told yet."""

from __future__ import annotations

from sqlalchemy import ARRAY, Boolean, CheckConstraint, Column, ForeignKey, Index, Integer, Table, Text

from app.store.columns import metadata, tenant, time

webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    Column("id", Text, primary_key=True),
    # Null: the operator's.
    Column("tenant_id", Text),
    Column("name", Text, nullable=False),
    Column("url", Text, nullable=False),
    # In clear: what is sent is signed with it.
    Column("secret", Text, nullable=False),
    Column("event_types", ARRAY(Text), nullable=False),
    time("created_at", nullable=False),
    time("disabled_at"),
    time("succeeded_at"),
    time("failed_at"),
    Column("fault", Text),
    Column("failing", Boolean, nullable=False, server_default="false"),
    Column("given_up", Integer, nullable=False, server_default="0"),
    CheckConstraint("given_up >= 0", name="given_up_not_negative"),
    Index(None, "tenant_id"),
)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("id", Text, primary_key=True),
    tenant(),
    Column("endpoint_id", Text, ForeignKey("webhook_endpoints.id", ondelete="CASCADE"), nullable=False),
    # As it is sent.
    Column("body", Text, nullable=False),
    time("due_at", nullable=False),
    # Those that failed.
    Column("tries", Integer, nullable=False, server_default="0"),
    time("lease_expires_at"),
    CheckConstraint("tries >= 0", name="tries_not_negative"),
    Index(None, "endpoint_id"),
    Index(None, "due_at"),
)
"""What was heard, or told in vain to the end, is no longer there."""
