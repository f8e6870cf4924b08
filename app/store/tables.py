"""The tables. Alembic's migrations build them; a test holds the two against each other."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import JSONB

from app.domain.batch import BatchStatus
from app.domain.shard import ShardState

NAMING = {
    "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
}
metadata = MetaData(naming_convention=NAMING)


def _one_of(column: str, values: type[BatchStatus] | type[ShardState] | tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(repr(str(value)) for value in values)})"


def _time(name: str, *, nullable: bool = True) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=nullable)


def _tenant() -> Column[str]:
    return Column("tenant_id", Text, nullable=False)


files = Table(
    "files",
    metadata,
    Column("id", Text, primary_key=True),
    _tenant(),
    Column("purpose", Text, nullable=False),
    Column("filename", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    _time("created_at", nullable=False),
    CheckConstraint("bytes >= 0", name="bytes_not_negative"),
    CheckConstraint(_one_of("purpose", ("batch", "batch_output")), name="purpose_known"),
    Index(None, "tenant_id", "created_at"),
)

batches = Table(
    "batches",
    metadata,
    Column("id", Text, primary_key=True),
    _tenant(),
    Column("endpoint", Text, nullable=False),
    Column("input_file_id", Text, ForeignKey("files.id"), nullable=False),
    Column("completion_window", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("model", Text),
    Column("errors", JSONB),
    Column("metadata", JSONB),
    Column("output_file_id", Text, ForeignKey("files.id")),
    Column("error_file_id", Text, ForeignKey("files.id")),
    Column("total", Integer, nullable=False, server_default="0"),
    # Final counts; while the batch runs its shards count.
    Column("completed", Integer),
    Column("failed", Integer),
    Column("usage", JSONB),
    _time("created_at", nullable=False),
    _time("in_progress_at"),
    _time("expires_at", nullable=False),
    _time("finalizing_at"),
    _time("completed_at"),
    _time("failed_at"),
    _time("expired_at"),
    _time("cancelling_at"),
    _time("cancelled_at"),
    _time("sent_at"),
    CheckConstraint(_one_of("status", BatchStatus), name="status_legal"),
    CheckConstraint("total >= 0", name="total_not_negative"),
    CheckConstraint("(status = 'completed') = (completed_at IS NOT NULL)", name="completed_has_time"),
    Index(None, "tenant_id", "created_at"),
    Index(
        "ix_batches_open",
        "status",
        postgresql_where=(Column("status", Text).not_in(["failed", "completed", "expired", "cancelled"])),
    ),
)

requests = Table(
    "requests",
    metadata,
    Column("batch_id", Text, ForeignKey("batches.id", ondelete="CASCADE"), primary_key=True),
    Column("line", Integer, primary_key=True),
    _tenant(),
    Column("custom_id", Text, nullable=False),
    Column("workload", Text, nullable=False),
    Column("pinned_level", SmallInteger),
    # json, not jsonb: the text is kept as it came and never searched.
    Column("body", JSON, nullable=False),
    UniqueConstraint("batch_id", "custom_id"),
    CheckConstraint("line > 0", name="line_positive"),
    CheckConstraint("pinned_level >= 0", name="pinned_level_not_negative"),
)

shards = Table(
    "shards",
    metadata,
    Column("id", Text, primary_key=True),
    Column("batch_id", Text, ForeignKey("batches.id", ondelete="CASCADE"), nullable=False, index=True),
    _tenant(),
    Column("first_line", Integer, nullable=False),
    Column("last_line", Integer, nullable=False),
    Column("state", Text, nullable=False),
    _time("created_at", nullable=False),
    _time("release_at", nullable=False),
    _time("sent_at"),
    Column("lease_id", Text),
    Column("lease_owner", Text),
    _time("lease_expires_at"),
    Column("losses", Integer, nullable=False, server_default="0"),
    Column("completed", Integer, nullable=False, server_default="0"),
    Column("failed", Integer, nullable=False, server_default="0"),
    CheckConstraint(_one_of("state", ShardState), name="state_legal"),
    CheckConstraint("0 < first_line AND first_line <= last_line", name="lines_ordered"),
    CheckConstraint("(state = 'leased') = (lease_id IS NOT NULL)", name="leased_has_lease"),
    CheckConstraint("(lease_id IS NULL) = (lease_expires_at IS NULL)", name="lease_expires"),
    CheckConstraint("losses >= 0 AND completed >= 0 AND failed >= 0", name="counts_not_negative"),
    Index("ix_shards_waiting", "release_at", "created_at", postgresql_where=Column("state", Text) == "pending"),
    Index("ix_shards_leased", "lease_expires_at", postgresql_where=Column("state", Text) == "leased"),
)

results = Table(
    "results",
    metadata,
    # First write wins: one result per (batch, custom_id), whatever workers do.
    Column("batch_id", Text, primary_key=True),
    Column("custom_id", Text, primary_key=True),
    _tenant(),
    Column("workload", Text, nullable=False),
    Column("status_code", SmallInteger),
    Column("error_code", Text),
    Column("model", Text, nullable=False),
    Column("level", SmallInteger, nullable=False),
    Column("probability", Float, nullable=False),
    Column("mix_id", Text, ForeignKey("directive_mixes.id")),
    Column("prompt_tokens", Integer, nullable=False),
    Column("completion_tokens", Integer, nullable=False),
    Column("energy_j", Float, nullable=False),
    Column("device_s", Float, nullable=False),
    Column("energy_basis", Text, nullable=False),
    Column("zone", Text, nullable=False),
    Column("intensity_g_per_kwh", Float, nullable=False),
    Column("intensity_basis", Text, nullable=False),
    Column("operational_g", Float, nullable=False),
    Column("embodied_g", Float, nullable=False),
    _time("finished_at", nullable=False),
    ForeignKeyConstraint(["batch_id", "custom_id"], ["requests.batch_id", "requests.custom_id"], ondelete="CASCADE"),
    CheckConstraint("(status_code IS NULL) <> (error_code IS NULL)", name="status_or_error"),
    CheckConstraint("level >= 0", name="level_not_negative"),
    CheckConstraint("probability > 0 AND probability <= 1", name="probability_in_range"),
    CheckConstraint("prompt_tokens >= 0 AND completion_tokens >= 0", name="tokens_not_negative"),
    CheckConstraint(
        "energy_j >= 0 AND device_s >= 0 AND operational_g >= 0 AND embodied_g >= 0", name="use_not_negative"
    ),
    CheckConstraint(_one_of("energy_basis", ("measured", "modelled")), name="energy_basis_known"),
    Index(None, "tenant_id", "finished_at"),
)

responses = Table(
    "responses",
    metadata,
    Column("batch_id", Text, primary_key=True),
    Column("custom_id", Text, primary_key=True),
    _tenant(),
    Column("body", JSON, nullable=False),
    ForeignKeyConstraint(["batch_id", "custom_id"], ["results.batch_id", "results.custom_id"], ondelete="CASCADE"),
)

windows = Table(
    "windows",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("worker", Text, nullable=False),
    _time("started_at", nullable=False),
    _time("ended_at", nullable=False),
    Column("energy_j", Float, nullable=False),
    Column("device_s", Float, nullable=False),
    Column("idle_energy_j", Float, nullable=False),
    Column("idle_device_s", Float, nullable=False),
    Column("energy_basis", Text, nullable=False),
    Column("zone", Text, nullable=False),
    Column("intensity_g_per_kwh", Float, nullable=False),
    Column("intensity_basis", Text, nullable=False),
    CheckConstraint("ended_at >= started_at", name="times_ordered"),
    CheckConstraint("0 <= idle_energy_j AND idle_energy_j <= energy_j", name="idle_energy_within"),
    CheckConstraint("0 <= idle_device_s AND idle_device_s <= device_s", name="idle_device_within"),
    CheckConstraint(_one_of("energy_basis", ("measured", "modelled")), name="energy_basis_known"),
    Index(None, "ended_at"),
)

intensity = Table(
    "intensity",
    metadata,
    Column("zone", Text, primary_key=True),
    Column("basis", Text, primary_key=True),
    Column("start_at", DateTime(timezone=True), primary_key=True),
    Column("provider", Text, nullable=False),
    Column("intensity_g_per_kwh", Float, nullable=False),
    _time("fetched_at", nullable=False),
    CheckConstraint("intensity_g_per_kwh >= 0 AND intensity_g_per_kwh < 10000", name="intensity_in_range"),
)

profiles = Table(
    "profiles",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("workload", Text, primary_key=True),
    Column("level", SmallInteger, primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("energy_j", Float, nullable=False),
    Column("energy_sd_j", Float, nullable=False),
    Column("device_s", Float, nullable=False),
    Column("device_sd_s", Float, nullable=False),
    _time("updated_at", nullable=False),
    CheckConstraint("requests > 0", name="requests_positive"),
    CheckConstraint("level >= 0", name="level_not_negative"),
    CheckConstraint("energy_j >= 0 AND device_s >= 0", name="use_not_negative"),
)

optimizer_runs = Table(
    "optimizer_runs",
    metadata,
    Column("id", Text, primary_key=True),
    _tenant(),
    _time("created_at", nullable=False),
    Column("outcome", Text, nullable=False),
    Column("solver_status", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("inputs", JSONB, nullable=False),
    CheckConstraint(_one_of("outcome", ("solved", "last_good", "l0")), name="outcome_known"),
    Index(None, "tenant_id", "created_at"),
)

directive_mixes = Table(
    "directive_mixes",
    metadata,
    Column("id", Text, primary_key=True),
    Column("run_id", Text, ForeignKey("optimizer_runs.id", ondelete="CASCADE"), nullable=False),
    _tenant(),
    Column("workload", Text, nullable=False),
    Column("probabilities", ARRAY(Float, dimensions=1), nullable=False),
    Column("evidence", Text, nullable=False),
    Column("binding", Boolean, nullable=False),
    _time("created_at", nullable=False),
    UniqueConstraint("run_id", "workload"),
    CheckConstraint("is_distribution(probabilities)", name="sums_to_one"),
    Index(None, "tenant_id", "workload", "created_at"),
)

verdicts = Table(
    "verdicts",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    _tenant(),
    Column("model", Text, nullable=False),
    Column("workload", Text, nullable=False),
    Column("level", SmallInteger, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("judge", Text, nullable=False),
    _time("created_at", nullable=False),
    CheckConstraint("level > 0", name="level_positive"),
    CheckConstraint(_one_of("outcome", ("win", "tie", "loss")), name="outcome_known"),
    Index(None, "tenant_id", "model", "workload", "level"),
)
