"""How long texts are kept, what is being erased, and which answers may be given again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

MARKS = ("erased_at", "prompts_gone_at", "answers_gone_at")
KINDS = ("prompts", "answers", "samples", "verdicts", "cache", "files")


def upgrade() -> None:
    for name in MARKS:
        op.add_column("batches", sa.Column(name, sa.DateTime(timezone=True), nullable=True))
    op.alter_column("requests", "body", nullable=True)
    for table, name in (("results", "cached"), ("class_models", "stale")):
        op.add_column(table, sa.Column(name, sa.Boolean(), server_default="false", nullable=False))
    op.create_table(
        "retention",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("keep_s", sa.Float(), nullable=True),
        sa.CheckConstraint(f"kind IN {KINDS!r}", name=op.f("ck_retention_kind_known")),
        sa.CheckConstraint("keep_s > 0", name=op.f("ck_retention_keep_positive")),
        sa.PrimaryKeyConstraint("tenant_id", "kind", name=op.f("pk_retention")),
    )
    _cached_answers()


def _cached_answers() -> None:
    op.create_table(
        "cached_answers",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["batch_id", "line"],
            ["responses.batch_id", "responses.line"],
            name=op.f("fk_cached_answers_batch_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "key", name=op.f("pk_cached_answers")),
    )
    op.create_index(op.f("ix_cached_answers_batch_id_line"), "cached_answers", ["batch_id", "line"])
    op.create_index(op.f("ix_cached_answers_tenant_id_created_at"), "cached_answers", ["tenant_id", "created_at"])


def downgrade() -> None:
    op.drop_table("cached_answers")
    op.drop_table("retention")
    # What was to be erased is not to come to light again, and what is stale was learned from it.
    op.execute("DELETE FROM batches WHERE erased_at IS NOT NULL")
    op.execute("DELETE FROM class_models WHERE stale")
    for table, name in (("results", "cached"), ("class_models", "stale")):
        op.drop_column(table, name)
    # Its text is gone for good.
    op.execute("UPDATE requests SET body = '{}' WHERE body IS NULL")
    op.alter_column("requests", "body", nullable=False)
    for name in MARKS:
        op.drop_column("batches", name)
