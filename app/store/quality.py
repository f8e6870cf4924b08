"""The tables of quality: what was judged, by whom, and what followed from it."""

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

from app.domain.judging import Kind, Outcome, Vote
from app.store.columns import metadata, one_of, tenant, time

deployments = Table(
    "deployments",
    metadata,
    Column("model", Text, primary_key=True),
    # Of its weights, as the worker that loaded it last saw them.
    Column("identity", Text, nullable=False),
    Column("placement", Text, nullable=False),
    # That it answers; null until it is loaded.
    Column("endpoints", ARRAY(Text, dimensions=1)),
    time("since", nullable=False),
)

evaluation_rounds = Table(
    "evaluation_rounds",
    metadata,
    Column("id", Text, primary_key=True),
    tenant(),
    Column("model", Text, nullable=False),
    Column("reason", Text, nullable=False),
    # Drained past the gate.
    Column("forced", Boolean, nullable=False),
    Column("budget_g", Float, nullable=False),
    Column("requests", Integer, nullable=False),
    time("opened_at", nullable=False),
    time("closed_at"),
    time("sent_at"),
    # Asked of its judge so far.
    Column("judge_requests", Integer, nullable=False, server_default="0"),
    Column("judge_prompt_tokens", BigInteger, nullable=False, server_default="0"),
    Column("judge_completion_tokens", BigInteger, nullable=False, server_default="0"),
    # Why its judge could not be asked, the last time.
    Column("fault", Text),
    CheckConstraint("budget_g >= 0 AND requests > 0", name="worth_opening"),
    Index("ix_evaluation_rounds_open", "tenant_id", "model", unique=True, postgresql_where=Column("closed_at") == None),  # noqa: E711
    Index(None, "tenant_id", "model", "opened_at"),
)

SAMPLE_STATES = ("waiting", "leased", "judged", "failed")

evaluation_samples = Table(
    "evaluation_samples",
    metadata,
    Column("round_id", Text, ForeignKey("evaluation_rounds.id", ondelete="CASCADE"), primary_key=True),
    Column("batch_id", Text, primary_key=True),
    Column("line", Integer, primary_key=True),
    tenant(),
    Column("workload", Text, nullable=False),
    # The level of the answer that was served, and how likely it was drawn.
    Column("level", SmallInteger, nullable=False),
    Column("state", Text, nullable=False),
    # Prompt and answers by level; both null once they are past their retention.
    Column("body", JSON(none_as_null=True)),
    Column("answers", JSONB(none_as_null=True)),
    # Of the model, the directives and their placement that gave the answers.
    Column("fingerprint", Text),
    # For people who vote: what the sample is called to them, and the secret on which their pairs hang.
    Column("ticket", Text, nullable=False, unique=True),
    Column("seed", Text, nullable=False),
    Column("lease_id", Text),
    time("lease_expires_at"),
    Column("losses", Integer, nullable=False, server_default="0"),
    Column("fault", Text),
    # What evaluating it has used so far: answers, given up ones too, and the worker's own engine as a judge.
    Column("energy_j", Float, nullable=False, server_default="0"),
    Column("device_s", Float, nullable=False, server_default="0"),
    Column("operational_g", Float, nullable=False, server_default="0"),
    Column("embodied_g", Float, nullable=False, server_default="0"),
    time("updated_at", nullable=False),
    ForeignKeyConstraint(["batch_id", "line"], ["requests.batch_id", "requests.line"], ondelete="CASCADE"),
    CheckConstraint(one_of("state", SAMPLE_STATES), name="state_known"),
    CheckConstraint("(state = 'leased') = (lease_id IS NOT NULL)", name="leased_has_lease"),
    CheckConstraint("(lease_id IS NULL) = (lease_expires_at IS NULL)", name="lease_expires"),
    CheckConstraint(
        "energy_j >= 0 AND device_s >= 0 AND operational_g >= 0 AND embodied_g >= 0", name="use_not_negative"
    ),
    Index(None, "batch_id", "line"),
    Index(None, "tenant_id", "updated_at"),
)

verdicts = Table(
    "verdicts",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    tenant(),
    Column("model", Text, nullable=False),
    # Of the model, the directives and their placement: evidence of others counts for nothing.
    Column("fingerprint", Text, nullable=False),
    Column("workload", Text, nullable=False),
    Column("level", SmallInteger, nullable=False),
    Column("batch_id", Text, nullable=False),
    Column("line", Integer, nullable=False),
    Column("round_id", Text, ForeignKey("evaluation_rounds.id", ondelete="SET NULL")),
    Column("kind", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("judge", Text, nullable=False),
    Column("judge_model", Text, nullable=False),
    Column("prompt_version", Text, nullable=False),
    # What was preferred when the level's answer was shown first, and when it was shown second.
    Column("when_first", Text),
    Column("when_second", Text),
    # Characters.
    Column("length", Integer, nullable=False),
    Column("l0_length", Integer, nullable=False),
    # Raw; null once past its retention, or where nobody was asked.
    Column("replies", JSONB(none_as_null=True)),
    time("created_at", nullable=False),
    ForeignKeyConstraint(["batch_id", "line"], ["requests.batch_id", "requests.line"], ondelete="CASCADE"),
    # Judging a request again adds nothing: a small set of requests would look like ever more evidence.
    UniqueConstraint("batch_id", "line", "level", "kind", "judge", "judge_model", "fingerprint", name="judged_once"),
    CheckConstraint("level > 0", name="level_positive"),
    CheckConstraint(one_of("outcome", Outcome), name="outcome_known"),
    CheckConstraint(one_of("kind", Kind), name="kind_known"),
    CheckConstraint(one_of("when_first", Vote), name="when_first_known"),
    CheckConstraint(one_of("when_second", Vote), name="when_second_known"),
    Index(None, "tenant_id", "model", "fingerprint", "workload", "level", "created_at"),
)

fresh_starts = Table(
    "fresh_starts",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    tenant(),
    Column("model", Text, nullable=False),
    Column("workload", Text, nullable=False),
    Column("level", SmallInteger, nullable=False),
    # Verdicts from before this one no longer count.
    Column("first_verdict", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    time("created_at", nullable=False),
    Index(None, "tenant_id", "model", "created_at"),
)

evaluation_decisions = Table(
    "evaluation_decisions",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    tenant(),
    Column("model", Text, nullable=False),
    Column("zone", Text, nullable=False),
    time("at", nullable=False),
    Column("round_id", Text, ForeignKey("evaluation_rounds.id", ondelete="SET NULL")),
    Column("gate_open", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
    Column("intensity_g_per_kwh", Float),
    Column("past_mean_g_per_kwh", Float),
    Index(None, "tenant_id", "model", "at"),
)

events = Table(
    "events",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    tenant(),
    time("at", nullable=False),
    Column("kind", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("details", JSONB, nullable=False),
    Index(None, "tenant_id", "at"),
)
