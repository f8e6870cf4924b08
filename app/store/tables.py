"""The tables of work and of what it used."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import JSONB

from app.domain.batch import BatchStatus, Schedule
from app.domain.shard import ShardState
from app.store.columns import metadata, one_of, tenant, time
from app.store.knowledge import directive_mixes

files = Table(
    "files",
    metadata,
    Column("id", Text, primary_key=True),
    tenant(),
    Column("purpose", Text, nullable=False),
    Column("filename", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    time("created_at", nullable=False),
    time("expires_at"),
    CheckConstraint("bytes >= 0", name="bytes_not_negative"),
    CheckConstraint(one_of("purpose", ("batch", "batch_output")), name="purpose_known"),
    Index(None, "tenant_id", "created_at"),
    Index("ix_files_expiring", "expires_at", postgresql_where=Column("expires_at").is_not(None)),
)

batches = Table(
    "batches",
    metadata,
    Column("id", Text, primary_key=True),
    tenant(),
    Column("endpoint", Text, nullable=False),
    # No foreign keys: an ended batch names its files when they have been deleted.
    Column("input_file_id", Text, nullable=False),
    Column("completion_window", Text, nullable=False),
    Column("status", Text, nullable=False),
    # The one that all of its lines name. Null until it is validated.
    Column("model", Text),
    Column("errors", JSONB),
    Column("metadata", JSONB),
    Column("output_file_id", Text),
    Column("error_file_id", Text),
    Column("total", Integer, nullable=False, server_default="0"),
    # How many of them validation has rejected.
    Column("rejected", Integer, nullable=False, server_default="0"),
    # Final counts; while the batch runs its shards count.
    Column("completed", Integer),
    Column("failed", Integer),
    Column("usage", JSONB),
    time("created_at", nullable=False),
    time("in_progress_at"),
    time("expires_at", nullable=False),
    time("finalizing_at"),
    time("completed_at"),
    time("failed_at"),
    time("expired_at"),
    time("cancelling_at"),
    time("cancelled_at"),
    time("sent_at"),
    Column("schedule", Text, nullable=False, server_default=Schedule.ASAP),
    # Where it may run: several zones, or only the default one.
    Column("zones", ARRAY(Text, dimensions=1), nullable=False, server_default="{}"),
    # Requests per workload, counted once by validation.
    Column("composition", JSONB, nullable=False, server_default="[]"),
    # The first plan, to be held against what came of it, and the newest one, to say why it waits.
    Column("first_plan", JSONB(none_as_null=True)),
    Column("plan", JSONB(none_as_null=True)),
    Column("output_expires_after_s", Integer),
    # Among the batches of its tenant.
    Column("priority", SmallInteger, nullable=False, server_default="0"),
    # While it is set, no more of its shards are leased.
    time("paused_at"),
    Column("pause_reason", Text),
    # The batch whose unanswered lines it runs again. A batch has one retry at most.
    Column("retry_of", Text, ForeignKey("batches.id", ondelete="SET NULL"), unique=True),
    # What its requests used, once it has ended.
    Column("ledger", JSONB(none_as_null=True)),
    # Some of them were priced anew since.
    Column("ledger_is_stale", Boolean, nullable=False, server_default="false"),
    CheckConstraint("(paused_at IS NULL) = (pause_reason IS NULL)", name="paused_has_reason"),
    # Since when nobody sees it any more: its rows and files are being removed.
    time("erased_at"),
    # Since when the texts of its requests, and of its responses, are no longer kept.
    time("prompts_gone_at"),
    time("answers_gone_at"),
    CheckConstraint(one_of("status", BatchStatus), name="status_legal"),
    CheckConstraint(one_of("schedule", Schedule), name="schedule_known"),
    CheckConstraint("total >= 0", name="total_not_negative"),
    CheckConstraint("rejected >= 0", name="rejected_not_negative"),
    CheckConstraint("output_expires_after_s > 0", name="output_expires_later"),
    CheckConstraint("(status = 'completed') = (completed_at IS NOT NULL)", name="completed_has_time"),
    Index(None, "tenant_id", "created_at"),
    Index("ix_batches_stale", "id", postgresql_where=Column("ledger_is_stale", Boolean)),
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
    tenant(),
    Column("custom_id", Text, nullable=False),
    Column("workload", Text, nullable=False),
    Column("pinned_level", SmallInteger),
    # json, not jsonb: the text is kept as it came and never searched. Null once past its retention.
    Column("body", JSON(none_as_null=True)),
    UniqueConstraint("batch_id", "custom_id"),
    CheckConstraint("line > 0", name="line_positive"),
    CheckConstraint("pinned_level >= 0", name="pinned_level_not_negative"),
)

rejected_lines = Table(
    "rejected_lines",
    metadata,
    Column("batch_id", Text, ForeignKey("batches.id", ondelete="CASCADE"), primary_key=True),
    Column("line", Integer, primary_key=True),
    tenant(),
    # Null where the line has none that can be used. It may be another line's too.
    Column("custom_id", Text),
    Column("code", Text, nullable=False),
    Column("param", Text),
    Column("message", Text, nullable=False),
    CheckConstraint("line > 0", name="line_positive"),
)

shards = Table(
    "shards",
    metadata,
    Column("id", Text, primary_key=True),
    Column("batch_id", Text, ForeignKey("batches.id", ondelete="CASCADE"), nullable=False, index=True),
    tenant(),
    Column("first_line", Integer, nullable=False),
    Column("last_line", Integer, nullable=False),
    Column("requests", Integer, nullable=False),
    Column("state", Text, nullable=False),
    time("created_at", nullable=False),
    time("release_at", nullable=False),
    # From then on it goes first: held any longer, some deadline would be at risk. Null before the first plan.
    time("start_by"),
    Column("zone", Text, nullable=False, server_default=""),
    time("sent_at"),
    Column("lease_id", Text),
    Column("lease_owner", Text),
    time("lease_expires_at"),
    # Requests that the owner of the lease runs at once.
    Column("lease_at_once", Integer),
    Column("losses", Integer, nullable=False, server_default="0"),
    # A shard that is left at the end of a batch is also run from behind, by a worker that has nothing else to do.
    Column("copy_of", Text, ForeignKey("shards.id", ondelete="CASCADE")),
    Column("completed", Integer, nullable=False, server_default="0"),
    Column("failed", Integer, nullable=False, server_default="0"),
    CheckConstraint(one_of("state", ShardState), name="state_legal"),
    CheckConstraint("0 < first_line AND first_line <= last_line", name="lines_ordered"),
    CheckConstraint("(state = 'leased') = (lease_id IS NOT NULL)", name="leased_has_lease"),
    CheckConstraint("(lease_id IS NULL) = (lease_expires_at IS NULL)", name="lease_expires"),
    CheckConstraint("losses >= 0 AND completed >= 0 AND failed >= 0", name="counts_not_negative"),
    Index("ix_shards_waiting", "zone", "release_at", postgresql_where=Column("state", Text) == "pending"),
    Index("ix_shards_leased", "lease_expires_at", postgresql_where=Column("state", Text) == "leased"),
    Index("ix_shards_copy_of", "copy_of", unique=True, postgresql_where=Column("copy_of", Text).is_not(None)),
)

results = Table(
    "results",
    metadata,
    # First write wins: one result per request, whatever workers do.
    Column("batch_id", Text, primary_key=True),
    Column("line", Integer, primary_key=True),
    tenant(),
    Column("workload", Text, nullable=False),
    Column("status_code", SmallInteger),
    Column("error_code", Text),
    Column("model", Text, nullable=False),
    Column("level", SmallInteger, nullable=False),
    Column("probability", Float, nullable=False),
    Column("mix_id", Text, ForeignKey(directive_mixes.c.id)),
    Column("prompt_tokens", Integer, nullable=False),
    Column("completion_tokens", Integer, nullable=False),
    Column("energy_j", Float, nullable=False),
    Column("device_s", Float, nullable=False),
    Column("energy_basis", Text, nullable=False),
    Column("zone", Text, nullable=False),
    Column("intensity_g_per_kwh", Float, nullable=False),
    Column("intensity_basis", Text, nullable=False),
    Column("intensity_origin", Text, nullable=False),
    Column("pue", Float, nullable=False),
    Column("operational_g", Float, nullable=False),
    Column("embodied_g", Float, nullable=False),
    # What it was priced with at first, once its hour was re-priced.
    Column("first_intensity_g_per_kwh", Float),
    Column("first_operational_g", Float),
    time("finished_at", nullable=False),
    # Given again, not generated: it used nothing, and nothing is to be learned from it.
    Column("cached", Boolean, nullable=False, server_default="false"),
    ForeignKeyConstraint(["batch_id", "line"], ["requests.batch_id", "requests.line"], ondelete="CASCADE"),
    CheckConstraint("(status_code IS NULL) <> (error_code IS NULL)", name="status_or_error"),
    CheckConstraint("level >= 0", name="level_not_negative"),
    CheckConstraint("probability > 0 AND probability <= 1", name="probability_in_range"),
    CheckConstraint("prompt_tokens >= 0 AND completion_tokens >= 0", name="tokens_not_negative"),
    CheckConstraint(
        "energy_j >= 0 AND device_s >= 0 AND operational_g >= 0 AND embodied_g >= 0", name="use_not_negative"
    ),
    CheckConstraint(one_of("energy_basis", ("measured", "modelled")), name="energy_basis_known"),
    CheckConstraint(
        "(first_intensity_g_per_kwh IS NULL) = (first_operational_g IS NULL)", name="first_figures_together"
    ),
    Index(None, "tenant_id", "finished_at"),
    Index(None, "zone", "finished_at"),
)

recorded_groups = Table(
    "recorded_groups",
    metadata,
    Column("batch_id", Text, ForeignKey("batches.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    tenant(),
    Column("lines", ARRAY(Integer, dimensions=1), nullable=False),
    CheckConstraint("number > 0", name="number_positive"),
)

responses = Table(
    "responses",
    metadata,
    # Texts alone: they can go, past their retention, and the row of the ledger stays.
    Column("batch_id", Text, primary_key=True),
    Column("line", Integer, primary_key=True),
    tenant(),
    Column("body", JSON, nullable=False),
    ForeignKeyConstraint(["batch_id", "line"], ["results.batch_id", "results.line"], ondelete="CASCADE"),
)

windows = Table(
    "windows",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("worker", Text, nullable=False),
    time("started_at", nullable=False),
    time("ended_at", nullable=False),
    Column("energy_j", Float, nullable=False),
    Column("device_s", Float, nullable=False),
    Column("idle_energy_j", Float, nullable=False),
    Column("idle_device_s", Float, nullable=False),
    Column("energy_basis", Text, nullable=False),
    Column("zone", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("intensity_g_per_kwh", Float, nullable=False),
    Column("intensity_basis", Text, nullable=False),
    Column("intensity_origin", Text, nullable=False),
    Column("first_intensity_g_per_kwh", Float),
    CheckConstraint("ended_at >= started_at", name="times_ordered"),
    CheckConstraint("0 <= idle_energy_j AND idle_energy_j <= energy_j", name="idle_energy_within"),
    CheckConstraint("0 <= idle_device_s AND idle_device_s <= device_s", name="idle_device_within"),
    CheckConstraint(one_of("energy_basis", ("measured", "modelled")), name="energy_basis_known"),
    Index(None, "ended_at"),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    # Of what was asked for.
    Column("body_sha256", Text, nullable=False),
    Column("batch_id", Text, ForeignKey("batches.id", ondelete="CASCADE"), nullable=False, index=True),
    time("created_at", nullable=False),
    Index(None, "created_at"),
)

installation = Table(
    "installation",
    metadata,
    # One row: what all processes of the installation have to agree on.
    Column("id", Boolean, primary_key=True, server_default="true"),
    Column("settings", JSONB, nullable=False),
    time("updated_at", nullable=False),
    CheckConstraint("id", name="one_row"),
)
