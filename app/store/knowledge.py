"""The tables of what is known: carbon intensity, use and quality, and what was decided from them."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import JSONB

from app.store.columns import metadata, one_of, tenant, time

intensity = Table(
    "intensity",
    metadata,
    Column("zone", Text, primary_key=True),
    Column("basis", Text, primary_key=True),
    time("start_at", primary_key=True),
    Column("provider", Text, nullable=False),
    Column("intensity_g_per_kwh", Float, nullable=False),
    Column("is_estimated", Boolean, nullable=False, server_default="false"),
    time("fetched_at", nullable=False),
    CheckConstraint("intensity_g_per_kwh >= 0 AND intensity_g_per_kwh < 10000", name="intensity_in_range"),
)

forecasts = Table(
    "forecasts",
    metadata,
    Column("zone", Text, primary_key=True),
    Column("basis", Text, primary_key=True),
    Column("provider", Text, primary_key=True),
    time("issued_at", primary_key=True),
    time("start_at", nullable=False),
    # Hour by hour from start_at on.
    Column("intensity_g_per_kwh", ARRAY(Float, dimensions=1), nullable=False),
    CheckConstraint("cardinality(intensity_g_per_kwh) > 0", name="not_empty"),
    Index(None, "zone", "basis", "issued_at"),
)

profiles = Table(
    "profiles",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("workload", Text, primary_key=True),
    Column("level", SmallInteger, primary_key=True),
    # A sum of weights: old requests count less.
    Column("requests", Float, nullable=False),
    Column("energy_j", Float, nullable=False),
    Column("energy_sd_j", Float, nullable=False),
    Column("device_s", Float, nullable=False),
    Column("device_sd_s", Float, nullable=False),
    Column("completion_tokens", Float, nullable=False),
    time("updated_at", nullable=False),
    CheckConstraint("requests > 0", name="requests_positive"),
    CheckConstraint("level >= 0", name="level_not_negative"),
    CheckConstraint("energy_j >= 0 AND device_s >= 0", name="use_not_negative"),
)

optimizer_runs = Table(
    "optimizer_runs",
    metadata,
    Column("id", Text, primary_key=True),
    tenant(),
    Column("zone", Text, nullable=False),
    Column("model", Text, nullable=False),
    time("created_at", nullable=False),
    Column("outcome", Text, nullable=False),
    Column("solver_status", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("inputs", JSONB, nullable=False),
    CheckConstraint(one_of("outcome", ("solved", "last_good", "l0")), name="outcome_known"),
    Index(None, "tenant_id", "model", "zone", "created_at"),
)

directive_mixes = Table(
    "directive_mixes",
    metadata,
    Column("id", Text, primary_key=True),
    Column("run_id", Text, ForeignKey("optimizer_runs.id", ondelete="CASCADE"), nullable=False),
    tenant(),
    Column("zone", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("workload", Text, nullable=False),
    Column("probabilities", ARRAY(Float, dimensions=1), nullable=False),
    Column("evidence", Text, nullable=False),
    Column("binding", Boolean, nullable=False),
    # Of the model, the directives and their placement that its evidence is about.
    Column("fingerprint", Text, nullable=False, server_default=""),
    time("created_at", nullable=False),
    UniqueConstraint("run_id", "workload"),
    CheckConstraint("is_distribution(probabilities)", name="sums_to_one"),
    Index(None, "tenant_id", "model", "zone", "workload", "created_at"),
)

class_models = Table(
    "class_models",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    time("created_at", nullable=False),
    Column("prompts", Integer, nullable=False),
    Column("vocabulary", ARRAY(Text, dimensions=1), nullable=False),
    Column("strata_of", ARRAY(Text, dimensions=1), nullable=False),
    Column("numbers", ARRAY(Integer, dimensions=1), nullable=False),
    Column("issued", Integer, nullable=False),
    # Learned from prompts that were erased since: to be learned anew, and then removed.
    Column("stale", Boolean, nullable=False, server_default="false"),
    # Arrays in NumPy's .npy format: shape and type stand in front of the numbers. As real[] they would take ten times
    # as long to read (0.13 s for a whole vocabulary), and lose their shape when they are empty.
    *(
        Column(name, LargeBinary, nullable=False)
        for name in ("projection", "centre", "scale", "centroids", "coefficients", "intercepts", "cuts")
    ),
    CheckConstraint("version > 0", name="version_positive"),
    CheckConstraint("issued > 0", name="issued_positive"),
)

calibrations = Table(
    "calibrations",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("machine", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("dtype", Text, nullable=False),
    Column("energy_basis", Text, nullable=False),
    Column("prefill_j", Float, nullable=False),
    Column("decode_j", Float, nullable=False),
    Column("idle_w", Float, nullable=False),
    Column("prefill_se_j", Float, nullable=False),
    Column("decode_se_j", Float, nullable=False),
    Column("idle_se_w", Float, nullable=False),
    Column("median_error", Float, nullable=False),
    Column("worst_error", Float, nullable=False),
    Column("windows", Integer, nullable=False),
    time("measured_at", nullable=False),
    CheckConstraint("prefill_j >= 0 AND decode_j >= 0 AND idle_w >= 0", name="costs_not_negative"),
    CheckConstraint(one_of("energy_basis", ("measured", "modelled")), name="energy_basis_known"),
    Index(None, "machine", "model", "measured_at"),
)
