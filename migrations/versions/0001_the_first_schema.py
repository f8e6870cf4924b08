"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

IS_DISTRIBUTION = """
CREATE FUNCTION is_distribution(p double precision[]) RETURNS boolean
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN (
    SELECT coalesce(bool_and(x IS NOT NULL AND x >= 0 AND x <= 1) AND abs(sum(x) - 1) < 1e-6, false) FROM unnest(p) AS x
)
"""

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(IS_DISTRIBUTION)
    op.create_table(
        "files",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("purpose IN ('batch', 'batch_output')", name=op.f("ck_files_purpose_known")),
        sa.CheckConstraint("bytes >= 0", name=op.f("ck_files_bytes_not_negative")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_files")),
    )
    op.create_index(op.f("ix_files_tenant_id_created_at"), "files", ["tenant_id", "created_at"], unique=False)
    op.create_table(
        "intensity",
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("basis", sa.Text(), nullable=False),
        sa.Column("start_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("intensity_g_per_kwh", sa.Float(), nullable=False),
        sa.Column("fetched_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "intensity_g_per_kwh >= 0 AND intensity_g_per_kwh < 10000", name=op.f("ck_intensity_intensity_in_range")
        ),
        sa.PrimaryKeyConstraint("zone", "basis", "start_at", name=op.f("pk_intensity")),
    )
    op.create_table(
        "optimizer_runs",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("solver_status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("inputs", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.CheckConstraint("outcome IN ('solved', 'last_good', 'l0')", name=op.f("ck_optimizer_runs_outcome_known")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_optimizer_runs")),
    )
    op.create_index(
        op.f("ix_optimizer_runs_tenant_id_created_at"), "optimizer_runs", ["tenant_id", "created_at"], unique=False
    )
    op.create_table(
        "profiles",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("workload", sa.Text(), nullable=False),
        sa.Column("level", sa.SmallInteger(), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("energy_j", sa.Float(), nullable=False),
        sa.Column("energy_sd_j", sa.Float(), nullable=False),
        sa.Column("device_s", sa.Float(), nullable=False),
        sa.Column("device_sd_s", sa.Float(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("energy_j >= 0 AND device_s >= 0", name=op.f("ck_profiles_use_not_negative")),
        sa.CheckConstraint("level >= 0", name=op.f("ck_profiles_level_not_negative")),
        sa.CheckConstraint("requests > 0", name=op.f("ck_profiles_requests_positive")),
        sa.PrimaryKeyConstraint("tenant_id", "model", "workload", "level", name=op.f("pk_profiles")),
    )
    op.create_table(
        "verdicts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("workload", sa.Text(), nullable=False),
        sa.Column("level", sa.SmallInteger(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("judge", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("outcome IN ('win', 'tie', 'loss')", name=op.f("ck_verdicts_outcome_known")),
        sa.CheckConstraint("level > 0", name=op.f("ck_verdicts_level_positive")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verdicts")),
    )
    op.create_index(
        op.f("ix_verdicts_tenant_id_model_workload_level"),
        "verdicts",
        ["tenant_id", "model", "workload", "level"],
        unique=False,
    )
    op.create_table(
        "windows",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("energy_j", sa.Float(), nullable=False),
        sa.Column("device_s", sa.Float(), nullable=False),
        sa.Column("idle_energy_j", sa.Float(), nullable=False),
        sa.Column("idle_device_s", sa.Float(), nullable=False),
        sa.Column("energy_basis", sa.Text(), nullable=False),
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("intensity_g_per_kwh", sa.Float(), nullable=False),
        sa.Column("intensity_basis", sa.Text(), nullable=False),
        sa.CheckConstraint("energy_basis IN ('measured', 'modelled')", name=op.f("ck_windows_energy_basis_known")),
        sa.CheckConstraint(
            "0 <= idle_device_s AND idle_device_s <= device_s", name=op.f("ck_windows_idle_device_within")
        ),
        sa.CheckConstraint(
            "0 <= idle_energy_j AND idle_energy_j <= energy_j", name=op.f("ck_windows_idle_energy_within")
        ),
        sa.CheckConstraint("ended_at >= started_at", name=op.f("ck_windows_times_ordered")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_windows")),
    )
    op.create_index(op.f("ix_windows_ended_at"), "windows", ["ended_at"], unique=False)
    op.create_table(
        "batches",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("input_file_id", sa.Text(), nullable=False),
        sa.Column("completion_window", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("errors", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("metadata", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("output_file_id", sa.Text(), nullable=True),
        sa.Column("error_file_id", sa.Text(), nullable=True),
        sa.Column("total", sa.Integer(), server_default="0", nullable=False),
        sa.Column("completed", sa.Integer(), nullable=True),
        sa.Column("failed", sa.Integer(), nullable=True),
        sa.Column("usage", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("in_progress_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finalizing_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expired_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancelling_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancelled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(status = 'completed') = (completed_at IS NOT NULL)", name=op.f("ck_batches_completed_has_time")
        ),
        sa.CheckConstraint(
            "status IN ('validating', 'failed', 'in_progress', 'finalizing', 'completed', 'expired', 'cancelling', "
            "'cancelled')",
            name=op.f("ck_batches_status_legal"),
        ),
        sa.CheckConstraint("total >= 0", name=op.f("ck_batches_total_not_negative")),
        sa.ForeignKeyConstraint(["error_file_id"], ["files.id"], name=op.f("fk_batches_error_file_id")),
        sa.ForeignKeyConstraint(["input_file_id"], ["files.id"], name=op.f("fk_batches_input_file_id")),
        sa.ForeignKeyConstraint(["output_file_id"], ["files.id"], name=op.f("fk_batches_output_file_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batches")),
    )
    op.create_index(
        "ix_batches_open",
        "batches",
        ["status"],
        unique=False,
        postgresql_where=sa.text("(status NOT IN ('failed', 'completed', 'expired', 'cancelled'))"),
    )
    op.create_index(op.f("ix_batches_tenant_id_created_at"), "batches", ["tenant_id", "created_at"], unique=False)
    op.create_table(
        "directive_mixes",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("workload", sa.Text(), nullable=False),
        sa.Column("probabilities", sa.ARRAY(sa.Float(), dimensions=1), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("binding", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("is_distribution(probabilities)", name=op.f("ck_directive_mixes_sums_to_one")),
        sa.ForeignKeyConstraint(
            ["run_id"], ["optimizer_runs.id"], name=op.f("fk_directive_mixes_run_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_directive_mixes")),
        sa.UniqueConstraint("run_id", "workload", name=op.f("uq_directive_mixes_run_id_workload")),
    )
    op.create_index(
        op.f("ix_directive_mixes_tenant_id_workload_created_at"),
        "directive_mixes",
        ["tenant_id", "workload", "created_at"],
        unique=False,
    )
    op.create_table(
        "requests",
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("custom_id", sa.Text(), nullable=False),
        sa.Column("workload", sa.Text(), nullable=False),
        sa.Column("pinned_level", sa.SmallInteger(), nullable=True),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.CheckConstraint("line > 0", name=op.f("ck_requests_line_positive")),
        sa.CheckConstraint("pinned_level >= 0", name=op.f("ck_requests_pinned_level_not_negative")),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name=op.f("fk_requests_batch_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("batch_id", "line", name=op.f("pk_requests")),
        sa.UniqueConstraint("batch_id", "custom_id", name=op.f("uq_requests_batch_id_custom_id")),
    )
    op.create_table(
        "shards",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("first_line", sa.Integer(), nullable=False),
        sa.Column("last_line", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("release_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_id", sa.Text(), nullable=True),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("losses", sa.Integer(), server_default="0", nullable=False),
        sa.Column("completed", sa.Integer(), server_default="0", nullable=False),
        sa.Column("failed", sa.Integer(), server_default="0", nullable=False),
        sa.CheckConstraint("(state = 'leased') = (lease_id IS NOT NULL)", name=op.f("ck_shards_leased_has_lease")),
        sa.CheckConstraint("state IN ('pending', 'leased', 'done')", name=op.f("ck_shards_state_legal")),
        sa.CheckConstraint("(lease_id IS NULL) = (lease_expires_at IS NULL)", name=op.f("ck_shards_lease_expires")),
        sa.CheckConstraint("0 < first_line AND first_line <= last_line", name=op.f("ck_shards_lines_ordered")),
        sa.CheckConstraint(
            "losses >= 0 AND completed >= 0 AND failed >= 0", name=op.f("ck_shards_counts_not_negative")
        ),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name=op.f("fk_shards_batch_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shards")),
    )
    op.create_index(op.f("ix_shards_batch_id"), "shards", ["batch_id"], unique=False)
    op.create_index(
        "ix_shards_leased", "shards", ["lease_expires_at"], unique=False, postgresql_where=sa.text("state = 'leased'")
    )
    op.create_index(
        "ix_shards_waiting",
        "shards",
        ["release_at", "created_at"],
        unique=False,
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_table(
        "results",
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("custom_id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("workload", sa.Text(), nullable=False),
        sa.Column("status_code", sa.SmallInteger(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("level", sa.SmallInteger(), nullable=False),
        sa.Column("probability", sa.Float(), nullable=False),
        sa.Column("mix_id", sa.Text(), nullable=True),
        sa.Column("prompt_tokens", sa.Integer(), nullable=False),
        sa.Column("completion_tokens", sa.Integer(), nullable=False),
        sa.Column("energy_j", sa.Float(), nullable=False),
        sa.Column("device_s", sa.Float(), nullable=False),
        sa.Column("energy_basis", sa.Text(), nullable=False),
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("intensity_g_per_kwh", sa.Float(), nullable=False),
        sa.Column("intensity_basis", sa.Text(), nullable=False),
        sa.Column("operational_g", sa.Float(), nullable=False),
        sa.Column("embodied_g", sa.Float(), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("energy_basis IN ('measured', 'modelled')", name=op.f("ck_results_energy_basis_known")),
        sa.CheckConstraint("(status_code IS NULL) <> (error_code IS NULL)", name=op.f("ck_results_status_or_error")),
        sa.CheckConstraint(
            "energy_j >= 0 AND device_s >= 0 AND operational_g >= 0 AND embodied_g >= 0",
            name=op.f("ck_results_use_not_negative"),
        ),
        sa.CheckConstraint("level >= 0", name=op.f("ck_results_level_not_negative")),
        sa.CheckConstraint("probability > 0 AND probability <= 1", name=op.f("ck_results_probability_in_range")),
        sa.CheckConstraint(
            "prompt_tokens >= 0 AND completion_tokens >= 0", name=op.f("ck_results_tokens_not_negative")
        ),
        sa.ForeignKeyConstraint(
            ["batch_id", "custom_id"],
            ["requests.batch_id", "requests.custom_id"],
            name=op.f("fk_results_batch_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["mix_id"], ["directive_mixes.id"], name=op.f("fk_results_mix_id")),
        sa.PrimaryKeyConstraint("batch_id", "custom_id", name=op.f("pk_results")),
    )
    op.create_index(op.f("ix_results_tenant_id_finished_at"), "results", ["tenant_id", "finished_at"], unique=False)
    op.create_table(
        "responses",
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("custom_id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["batch_id", "custom_id"],
            ["results.batch_id", "results.custom_id"],
            name=op.f("fk_responses_batch_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("batch_id", "custom_id", name=op.f("pk_responses")),
    )


def downgrade() -> None:
    op.drop_table("responses")
    op.drop_index(op.f("ix_results_tenant_id_finished_at"), table_name="results")
    op.drop_table("results")
    op.drop_index("ix_shards_waiting", table_name="shards", postgresql_where=sa.text("state = 'pending'"))
    op.drop_index("ix_shards_leased", table_name="shards", postgresql_where=sa.text("state = 'leased'"))
    op.drop_index(op.f("ix_shards_batch_id"), table_name="shards")
    op.drop_table("shards")
    op.drop_table("requests")
    op.drop_index(op.f("ix_directive_mixes_tenant_id_workload_created_at"), table_name="directive_mixes")
    op.drop_table("directive_mixes")
    op.drop_index(op.f("ix_batches_tenant_id_created_at"), table_name="batches")
    op.drop_index(
        "ix_batches_open",
        table_name="batches",
        postgresql_where=sa.text("(status NOT IN ('failed', 'completed', 'expired', 'cancelled'))"),
    )
    op.drop_table("batches")
    op.drop_index(op.f("ix_windows_ended_at"), table_name="windows")
    op.drop_table("windows")
    op.drop_index(op.f("ix_verdicts_tenant_id_model_workload_level"), table_name="verdicts")
    op.drop_table("verdicts")
    op.drop_table("profiles")
    op.drop_index(op.f("ix_optimizer_runs_tenant_id_created_at"), table_name="optimizer_runs")
    op.drop_table("optimizer_runs")
    op.drop_table("intensity")
    op.drop_index(op.f("ix_files_tenant_id_created_at"), table_name="files")
    op.drop_table("files")
    op.execute("DROP FUNCTION is_distribution")
