"""The tables of privacy: how long a tenant's texts stay, and which answers may be given again."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Float, ForeignKeyConstraint, Index, Integer, LargeBinary, Table, Text

from app.domain.retention import Kept
from app.store.columns import metadata, one_of, time

retention = Table(
    "retention",
    metadata,
    # A tenant's own times; the settings hold for all others.
    Column("tenant_id", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    # Seconds; null: until it is erased.
    Column("keep_s", Float),
    CheckConstraint(one_of("kind", Kept), name="kind_known"),
    CheckConstraint("keep_s > 0", name="keep_positive"),
)

cached_answers = Table(
    "cached_answers",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    # A hash of all that the answer depends on, the tenant included.
    Column("key", LargeBinary, primary_key=True),
    # Where the answer stands: this table holds no text, and an entry ends with the answer.
    Column("batch_id", Text, nullable=False),
    Column("line", Integer, nullable=False),
    time("created_at", nullable=False),
    ForeignKeyConstraint(["batch_id", "line"], ["responses.batch_id", "responses.line"], ondelete="CASCADE"),
    Index(None, "batch_id", "line"),
    Index(None, "tenant_id", "created_at"),
)
