"""The tables of tenants: who they are, their keys, and what they used."""

from __future__ import annotations

from sqlalchemy import ARRAY, BigInteger, CheckConstraint, Column, Float, ForeignKey, Integer, Table, Text

from app.store.columns import metadata, time

tenants = Table(
    "tenants",
    metadata,
    # The name, which every other table has as tenant_id. The default tenant is there without a row.
    Column("id", Text, primary_key=True),
    Column("weight", Float, nullable=False, server_default="1"),
    Column("queued_requests", BigInteger),
    Column("batches_per_hour", Integer),
    Column("tokens_per_day", BigInteger),
    Column("carbon_g_per_month", Float),
    # Why none of its shards is started now; null while they are.
    Column("hold", Text),
    time("created_at", nullable=False),
    time("disabled_at"),
    CheckConstraint("weight > 0", name="weight_positive"),
    CheckConstraint(
        "queued_requests >= 0 AND batches_per_hour >= 0 AND tokens_per_day >= 0 AND carbon_g_per_month >= 0",
        name="limits_not_negative",
    ),
)

api_keys = Table(
    "api_keys",
    metadata,
    # The part that may be shown, by which a key is found and called.
    Column("prefix", Text, primary_key=True),
    Column("tenant_id", Text, ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False, index=True),
    # SHA-256 of the whole key, in hexadecimal digits.
    Column("hash", Text, nullable=False),
    Column("scopes", ARRAY(Text, dimensions=1), nullable=False),
    time("created_at", nullable=False),
    time("expires_at"),
    time("revoked_at"),
    # To the minute.
    time("last_used_at"),
)

tenant_hours = Table(
    "tenant_hours",
    metadata,
    # What was answered for a tenant in an hour: limits are held against sums over these few rows.
    Column("tenant_id", Text, primary_key=True),
    time("start_at", primary_key=True),
    Column("tokens", BigInteger, nullable=False),
    Column("footprint_g", Float, nullable=False),
)

tenant_shares = Table(
    "tenant_shares",
    metadata,
    # Device-seconds that a tenant has used, and the requests that did, fading with age: as they stood at `as_of`.
    Column("tenant_id", Text, primary_key=True),
    Column("device_s", Float, nullable=False),
    Column("requests", Float, nullable=False),
    time("as_of", nullable=False),
)
