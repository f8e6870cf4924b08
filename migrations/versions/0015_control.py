"""What a user does with a running batch: reads its results in order, pauses it, retries it, creates it once."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _groups()
    _batches()
    op.create_table(
        "idempotency_keys",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("body_sha256", sa.Text(), nullable=False),
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "key", name=op.f("pk_idempotency_keys")),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["batches.id"], ondelete="CASCADE", name=op.f("fk_idempotency_keys_batch_id")
        ),
    )
    op.create_index(op.f("ix_idempotency_keys_batch_id"), "idempotency_keys", ["batch_id"])
    op.create_index(op.f("ix_idempotency_keys_created_at"), "idempotency_keys", ["created_at"])


def _groups() -> None:
    op.create_table(
        "recorded_groups",
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("lines", postgresql.ARRAY(sa.Integer(), dimensions=1), nullable=False),
        sa.PrimaryKeyConstraint("batch_id", "number", name=op.f("pk_recorded_groups")),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["batches.id"], ondelete="CASCADE", name=op.f("fk_recorded_groups_batch_id")
        ),
        sa.CheckConstraint("number > 0", name=op.f("ck_recorded_groups_number_positive")),
    )
    # Of results that are there nobody knows who wrote first.
    op.execute(
        """INSERT INTO recorded_groups (batch_id, number, tenant_id, lines)
            SELECT batch_id, line / 1000 + 1, min(tenant_id), array_agg(line) FROM results
            GROUP BY batch_id, line / 1000"""
    )


def _batches() -> None:
    op.add_column("batches", sa.Column("priority", sa.SmallInteger(), server_default="0", nullable=False))
    op.add_column("batches", sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("batches", sa.Column("pause_reason", sa.Text(), nullable=True))
    op.add_column("batches", sa.Column("retry_of", sa.Text(), nullable=True))
    op.add_column("batches", sa.Column("ledger", postgresql.JSONB(), nullable=True))
    stale: sa.Column[bool] = sa.Column("ledger_is_stale", sa.Boolean(), server_default="false", nullable=False)
    op.add_column("batches", stale)
    op.create_index("ix_batches_stale", "batches", ["id"], postgresql_where=sa.text("ledger_is_stale"))
    op.create_foreign_key(op.f("fk_batches_retry_of"), "batches", "batches", ["retry_of"], ["id"], ondelete="SET NULL")
    op.create_unique_constraint(op.f("uq_batches_retry_of"), "batches", ["retry_of"])
    op.create_check_constraint(
        op.f("ck_batches_paused_has_reason"), "batches", "(paused_at IS NULL) = (pause_reason IS NULL)"
    )


def downgrade() -> None:
    op.drop_table("idempotency_keys")
    op.drop_table("recorded_groups")
    for name in ("ledger_is_stale", "ledger", "retry_of", "pause_reason", "paused_at", "priority"):
        op.drop_column("batches", name)
