"""Several models, and what workers on other hosts have to know of the installation."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

SERVED = "COALESCE((SELECT model FROM results WHERE model <> '' ORDER BY finished_at DESC LIMIT 1), '')"
"""Until now an installation served one model; its results name it."""

OF_BATCH = f"""
    UPDATE batches SET model = COALESCE(
        (SELECT r.model FROM results AS r WHERE r.batch_id = batches.id AND r.model <> '' LIMIT 1),
        NULLIF({SERVED}, ''),
        (SELECT r.body ->> 'model' FROM requests AS r WHERE r.batch_id = batches.id ORDER BY r.line LIMIT 1))
    WHERE model IS NULL AND status IN ('in_progress', 'finalizing', 'cancelling')
"""  # noqa: S608


def upgrade() -> None:
    op.execute(OF_BATCH)
    for table in ("windows", "optimizer_runs", "directive_mixes"):
        op.add_column(table, sa.Column("model", sa.Text(), nullable=True))
        op.execute(f"UPDATE {table} SET model = {SERVED}")  # noqa: S608
        op.alter_column(table, "model", nullable=False)
    op.drop_index("ix_optimizer_runs_tenant_id_zone_created_at", table_name="optimizer_runs")
    op.create_index(
        op.f("ix_optimizer_runs_tenant_id_model_zone_created_at"),
        "optimizer_runs",
        ["tenant_id", "model", "zone", "created_at"],
    )
    op.drop_index("ix_directive_mixes_tenant_id_zone_workload_created_at", table_name="directive_mixes")
    op.create_index(
        op.f("ix_directive_mixes_tenant_id_model_zone_workload_created_at"),
        "directive_mixes",
        ["tenant_id", "model", "zone", "workload", "created_at"],
    )
    op.create_table(
        "installation",
        sa.Column("id", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("settings", postgresql.JSONB(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("id", name=op.f("ck_installation_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_installation")),
    )


def downgrade() -> None:
    """Batches keep their model; mixes of several models then stand for one."""
    op.drop_table("installation")
    op.drop_index("ix_directive_mixes_tenant_id_model_zone_workload_created_at", table_name="directive_mixes")
    op.create_index(
        op.f("ix_directive_mixes_tenant_id_zone_workload_created_at"),
        "directive_mixes",
        ["tenant_id", "zone", "workload", "created_at"],
    )
    op.drop_index("ix_optimizer_runs_tenant_id_model_zone_created_at", table_name="optimizer_runs")
    op.create_index(
        op.f("ix_optimizer_runs_tenant_id_zone_created_at"), "optimizer_runs", ["tenant_id", "zone", "created_at"]
    )
    for table in ("directive_mixes", "optimizer_runs", "windows"):
        op.drop_column(table, "model")
