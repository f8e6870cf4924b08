"""Forecasts, settlement of revised hours, schedules and zones."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

PRICED = {"results": "finished_at", "windows": "ended_at"}
"""And by which time the hour of a row is told."""

ORIGIN = """
    CASE WHEN intensity_basis = '' THEN ''
         WHEN intensity_basis LIKE '%(last known%' THEN 'last good'
         WHEN intensity_basis LIKE '%(none known%' THEN 'static'
         ELSE 'measured' END
"""
"""Until now a figure that stood in for the hour's own said so behind the name of its basis."""

DECLARED = """
    UPDATE {table} SET intensity_origin = 'static' FROM intensity
    WHERE intensity.provider = 'static' AND intensity_origin = 'measured' AND intensity.zone = {table}.zone
      AND intensity.basis = {table}.intensity_basis AND intensity.start_at = date_trunc('hour', {table}.{time}, 'UTC')
"""
"""A figure that was declared is not measured because it was stored hour by hour."""

PUE = """
    CASE WHEN energy_j > 0 AND intensity_g_per_kwh > 0
         THEN operational_g / (energy_j / 3600000.0 * intensity_g_per_kwh) ELSE 1.0 END
"""


def upgrade() -> None:
    _price_rows()
    _schedule_batches()
    _tell_zones_apart()
    op.add_column("intensity", sa.Column("is_estimated", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.create_table(
        "forecasts",
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("basis", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("start_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("intensity_g_per_kwh", sa.ARRAY(sa.Float(), dimensions=1), nullable=False),
        sa.CheckConstraint("cardinality(intensity_g_per_kwh) > 0", name=op.f("ck_forecasts_not_empty")),
        sa.PrimaryKeyConstraint("zone", "basis", "provider", "issued_at", name=op.f("pk_forecasts")),
    )
    op.create_index(op.f("ix_forecasts_zone_basis_issued_at"), "forecasts", ["zone", "basis", "issued_at"])


def _price_rows() -> None:
    for table, time in PRICED.items():
        op.add_column(table, sa.Column("intensity_origin", sa.Text(), nullable=True))
        op.add_column(table, sa.Column("first_intensity_g_per_kwh", sa.Float(), nullable=True))
        op.execute(f"UPDATE {table} SET intensity_origin = {ORIGIN}")  # noqa: S608
        op.execute(f"UPDATE {table} SET intensity_basis = split_part(intensity_basis, ' (', 1)")  # noqa: S608
        op.execute(DECLARED.format(table=table, time=time))
        op.alter_column(table, "intensity_origin", nullable=False)
    op.add_column("results", sa.Column("first_operational_g", sa.Float(), nullable=True))
    op.add_column("results", sa.Column("pue", sa.Float(), nullable=True))
    op.execute(f"UPDATE results SET pue = {PUE}")  # noqa: S608
    op.alter_column("results", "pue", nullable=False)
    op.create_check_constraint(
        op.f("ck_results_first_figures_together"),
        "results",
        "(first_intensity_g_per_kwh IS NULL) = (first_operational_g IS NULL)",
    )
    op.create_index(op.f("ix_results_zone_finished_at"), "results", ["zone", "finished_at"])


def _schedule_batches() -> None:
    op.add_column("batches", sa.Column("schedule", sa.Text(), server_default="asap", nullable=False))
    op.add_column("batches", sa.Column("zones", sa.ARRAY(sa.Text(), dimensions=1), server_default="{}", nullable=False))
    op.add_column("batches", sa.Column("composition", postgresql.JSONB(), server_default="[]", nullable=False))
    op.add_column("batches", sa.Column("first_plan", postgresql.JSONB(), nullable=True))
    op.add_column("batches", sa.Column("plan", postgresql.JSONB(), nullable=True))
    op.create_check_constraint(op.f("ck_batches_schedule_known"), "batches", "schedule IN ('asap', 'carbon')")
    op.add_column("shards", sa.Column("requests", sa.Integer(), nullable=True))
    op.execute("UPDATE shards SET requests = last_line - first_line + 1")
    op.alter_column("shards", "requests", nullable=False)
    op.add_column("shards", sa.Column("start_by", sa.DateTime(timezone=True), nullable=True))
    op.add_column("shards", sa.Column("zone", sa.Text(), server_default="", nullable=False))
    op.drop_index("ix_shards_waiting", table_name="shards")
    op.create_index(
        "ix_shards_waiting", "shards", ["zone", "release_at"], postgresql_where=sa.text("state = 'pending'")
    )


def _tell_zones_apart() -> None:
    """Mixes from before were decided for the only zone there was; its name is not known here."""
    for table in ("optimizer_runs", "directive_mixes"):
        op.add_column(table, sa.Column("zone", sa.Text(), server_default="", nullable=False))
        op.alter_column(table, "zone", server_default=None)
    op.drop_index("ix_optimizer_runs_tenant_id_created_at", table_name="optimizer_runs")
    op.create_index(
        op.f("ix_optimizer_runs_tenant_id_zone_created_at"), "optimizer_runs", ["tenant_id", "zone", "created_at"]
    )
    op.drop_index("ix_directive_mixes_tenant_id_workload_created_at", table_name="directive_mixes")
    op.create_index(
        op.f("ix_directive_mixes_tenant_id_zone_workload_created_at"),
        "directive_mixes",
        ["tenant_id", "zone", "workload", "created_at"],
    )


def downgrade() -> None:
    """Held shards keep their `release_at`; the figures of rows stay those of the last settlement."""
    op.drop_table("forecasts")
    op.drop_column("intensity", "is_estimated")
    op.drop_index("ix_directive_mixes_tenant_id_zone_workload_created_at", table_name="directive_mixes")
    op.create_index(
        op.f("ix_directive_mixes_tenant_id_workload_created_at"),
        "directive_mixes",
        ["tenant_id", "workload", "created_at"],
    )
    op.drop_index("ix_optimizer_runs_tenant_id_zone_created_at", table_name="optimizer_runs")
    op.create_index(op.f("ix_optimizer_runs_tenant_id_created_at"), "optimizer_runs", ["tenant_id", "created_at"])
    for table in ("optimizer_runs", "directive_mixes"):
        op.drop_column(table, "zone")
    op.drop_index("ix_shards_waiting", table_name="shards")
    op.create_index(
        "ix_shards_waiting",
        "shards",
        ["release_at", "created_at"],
        postgresql_where=sa.text("state = 'pending'"),
    )
    for column in ("start_by", "zone", "requests"):
        op.drop_column("shards", column)
    for column in ("schedule", "zones", "composition", "first_plan", "plan"):
        op.drop_column("batches", column)
    op.drop_index("ix_results_zone_finished_at", table_name="results")
    for column in ("first_operational_g", "pue"):
        op.drop_column("results", column)
    for table in PRICED:
        op.drop_column(table, "intensity_origin")
        op.drop_column(table, "first_intensity_g_per_kwh")
