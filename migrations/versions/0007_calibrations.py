"""What a token costs, per machine and model."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "calibrations",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("machine", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("dtype", sa.Text(), nullable=False),
        sa.Column("energy_basis", sa.Text(), nullable=False),
        sa.Column("prefill_j", sa.Float(), nullable=False),
        sa.Column("decode_j", sa.Float(), nullable=False),
        sa.Column("idle_w", sa.Float(), nullable=False),
        sa.Column("prefill_se_j", sa.Float(), nullable=False),
        sa.Column("decode_se_j", sa.Float(), nullable=False),
        sa.Column("idle_se_w", sa.Float(), nullable=False),
        sa.Column("median_error", sa.Float(), nullable=False),
        sa.Column("worst_error", sa.Float(), nullable=False),
        sa.Column("windows", sa.Integer(), nullable=False),
        sa.Column("measured_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "prefill_j >= 0 AND decode_j >= 0 AND idle_w >= 0", name=op.f("ck_calibrations_costs_not_negative")
        ),
        sa.CheckConstraint("energy_basis IN ('measured', 'modelled')", name=op.f("ck_calibrations_energy_basis_known")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_calibrations")),
    )
    op.create_index(
        op.f("ix_calibrations_machine_model_measured_at"), "calibrations", ["machine", "model", "measured_at"]
    )


def downgrade() -> None:
    op.drop_table("calibrations")
