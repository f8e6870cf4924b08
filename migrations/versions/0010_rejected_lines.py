"""Lines that validation rejects, each with its cause, so that the others of the batch run."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "rejected_lines",
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("custom_id", sa.Text(), nullable=True),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("param", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
        sa.CheckConstraint("line > 0", name=op.f("ck_rejected_lines_line_positive")),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["batches.id"], name=op.f("fk_rejected_lines_batch_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("batch_id", "line", name=op.f("pk_rejected_lines")),
    )
    op.add_column("batches", sa.Column("rejected", sa.Integer(), server_default="0", nullable=False))
    op.create_check_constraint(op.f("ck_batches_rejected_not_negative"), "batches", "rejected >= 0")


def downgrade() -> None:
    op.drop_constraint(op.f("ck_batches_rejected_not_negative"), "batches")
    op.drop_column("batches", "rejected")
    op.drop_table("rejected_lines")
