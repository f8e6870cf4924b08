"""Rounds of evaluation, their samples and verdicts, and what follows from them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("directive_mixes", sa.Column("fingerprint", sa.Text(), server_default="", nullable=False))
    _deployments()
    _rounds()
    _samples()
    # Nothing has written verdicts yet.
    op.drop_table("verdicts")
    _verdicts()
    _what_follows()


def _time(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable)


def _deployments() -> None:
    op.create_table(
        "deployments",
        _text("model"),
        _text("identity"),
        _text("placement"),
        _time("since"),
        sa.PrimaryKeyConstraint("model", name=op.f("pk_deployments")),
    )


def _rounds() -> None:
    op.create_table(
        "evaluation_rounds",
        _text("id"),
        _text("tenant_id"),
        _text("model"),
        _text("reason"),
        sa.Column("forced", sa.Boolean(), nullable=False),
        sa.Column("budget_g", sa.Float(), nullable=False),
        sa.Column("requests", sa.Integer(), nullable=False),
        _time("opened_at"),
        _time("closed_at", nullable=True),
        _time("sent_at", nullable=True),
        sa.Column("judge_requests", sa.Integer(), server_default="0", nullable=False),
        sa.Column("judge_prompt_tokens", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("judge_completion_tokens", sa.BigInteger(), server_default="0", nullable=False),
        _text("fault", nullable=True),
        sa.CheckConstraint("budget_g >= 0 AND requests > 0", name=op.f("ck_evaluation_rounds_worth_opening")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evaluation_rounds")),
    )
    op.create_index(
        "ix_evaluation_rounds_open",
        "evaluation_rounds",
        ["tenant_id", "model"],
        unique=True,
        postgresql_where=sa.text("closed_at IS NULL"),
    )
    op.create_index(
        op.f("ix_evaluation_rounds_tenant_id_model_opened_at"),
        "evaluation_rounds",
        ["tenant_id", "model", "opened_at"],
    )


def _samples() -> None:
    table = "evaluation_samples"
    op.create_table(
        table,
        _text("round_id"),
        _text("batch_id"),
        sa.Column("line", sa.Integer(), nullable=False),
        _text("tenant_id"),
        _text("workload"),
        sa.Column("level", sa.SmallInteger(), nullable=False),
        _text("state"),
        sa.Column("body", sa.JSON(), nullable=True),
        sa.Column("answers", postgresql.JSONB(), nullable=True),
        _text("lease_id", nullable=True),
        _time("lease_expires_at", nullable=True),
        sa.Column("losses", sa.Integer(), server_default="0", nullable=False),
        _text("fault", nullable=True),
        sa.Column("energy_j", sa.Float(), server_default="0", nullable=False),
        sa.Column("device_s", sa.Float(), server_default="0", nullable=False),
        sa.Column("operational_g", sa.Float(), server_default="0", nullable=False),
        sa.Column("embodied_g", sa.Float(), server_default="0", nullable=False),
        _time("updated_at"),
        sa.CheckConstraint(
            "state IN ('waiting', 'leased', 'judged', 'failed')", name=op.f("ck_evaluation_samples_state_known")
        ),
        sa.CheckConstraint(
            "(state = 'leased') = (lease_id IS NOT NULL)", name=op.f("ck_evaluation_samples_leased_has_lease")
        ),
        sa.CheckConstraint(
            "(lease_id IS NULL) = (lease_expires_at IS NULL)", name=op.f("ck_evaluation_samples_lease_expires")
        ),
        sa.CheckConstraint(
            "energy_j >= 0 AND device_s >= 0 AND operational_g >= 0 AND embodied_g >= 0",
            name=op.f("ck_evaluation_samples_use_not_negative"),
        ),
        sa.ForeignKeyConstraint(
            ["round_id"],
            ["evaluation_rounds.id"],
            name=op.f("fk_evaluation_samples_round_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["batch_id", "line"],
            ["requests.batch_id", "requests.line"],
            name=op.f("fk_evaluation_samples_batch_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("round_id", "batch_id", "line", name=op.f("pk_evaluation_samples")),
    )
    op.create_index(op.f("ix_evaluation_samples_batch_id_line"), table, ["batch_id", "line"])
    op.create_index(op.f("ix_evaluation_samples_tenant_id_updated_at"), table, ["tenant_id", "updated_at"])


def _verdicts() -> None:
    op.create_table(
        "verdicts",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        _text("tenant_id"),
        _text("model"),
        _text("fingerprint"),
        _text("workload"),
        sa.Column("level", sa.SmallInteger(), nullable=False),
        _text("batch_id"),
        sa.Column("line", sa.Integer(), nullable=False),
        _text("round_id", nullable=True),
        _text("kind"),
        _text("outcome"),
        _text("judge"),
        _text("judge_model"),
        _text("prompt_version"),
        _text("when_first", nullable=True),
        _text("when_second", nullable=True),
        sa.Column("length", sa.Integer(), nullable=False),
        sa.Column("l0_length", sa.Integer(), nullable=False),
        sa.Column("replies", postgresql.JSONB(), nullable=True),
        _time("created_at"),
        sa.CheckConstraint("level > 0", name=op.f("ck_verdicts_level_positive")),
        sa.CheckConstraint("outcome IN ('win', 'tie', 'loss')", name=op.f("ck_verdicts_outcome_known")),
        sa.CheckConstraint("kind IN ('preference', 'correctness')", name=op.f("ck_verdicts_kind_known")),
        sa.CheckConstraint("when_first IN ('level', 'l0', 'neither')", name=op.f("ck_verdicts_when_first_known")),
        sa.CheckConstraint("when_second IN ('level', 'l0', 'neither')", name=op.f("ck_verdicts_when_second_known")),
        sa.ForeignKeyConstraint(
            ["round_id"], ["evaluation_rounds.id"], name=op.f("fk_verdicts_round_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["batch_id", "line"],
            ["requests.batch_id", "requests.line"],
            name=op.f("fk_verdicts_batch_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verdicts")),
        sa.UniqueConstraint(
            "batch_id", "line", "level", "kind", "judge", "judge_model", "fingerprint", name="judged_once"
        ),
    )
    op.create_index(
        op.f("ix_verdicts_tenant_id_model_fingerprint_workload_level_created_at"),
        "verdicts",
        ["tenant_id", "model", "fingerprint", "workload", "level", "created_at"],
    )


def _what_follows() -> None:
    op.create_table(
        "fresh_starts",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        _text("tenant_id"),
        _text("model"),
        _text("workload"),
        sa.Column("level", sa.SmallInteger(), nullable=False),
        sa.Column("first_verdict", sa.BigInteger(), nullable=False),
        _text("reason"),
        _time("created_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fresh_starts")),
    )
    op.create_index(
        op.f("ix_fresh_starts_tenant_id_model_created_at"), "fresh_starts", ["tenant_id", "model", "created_at"]
    )
    op.create_table(
        "evaluation_decisions",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        _text("tenant_id"),
        _text("model"),
        _text("zone"),
        _time("at"),
        _text("round_id", nullable=True),
        sa.Column("gate_open", sa.Boolean(), nullable=False),
        _text("reason"),
        sa.Column("intensity_g_per_kwh", sa.Float(), nullable=True),
        sa.Column("past_mean_g_per_kwh", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(
            ["round_id"], ["evaluation_rounds.id"], name=op.f("fk_evaluation_decisions_round_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evaluation_decisions")),
    )
    op.create_index(
        op.f("ix_evaluation_decisions_tenant_id_model_at"), "evaluation_decisions", ["tenant_id", "model", "at"]
    )
    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        _text("tenant_id"),
        _time("at"),
        _text("kind"),
        _text("message"),
        sa.Column("details", postgresql.JSONB(), nullable=False),
        _time("told_at", nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
    )
    op.create_index(op.f("ix_events_tenant_id_at"), "events", ["tenant_id", "at"])


def downgrade() -> None:
    for table in ("events", "evaluation_decisions", "fresh_starts", "verdicts", "evaluation_samples"):
        op.drop_table(table)
    op.drop_table("evaluation_rounds")
    op.drop_table("deployments")
    op.drop_column("directive_mixes", "fingerprint")
    op.create_table(
        "verdicts",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        _text("tenant_id"),
        _text("model"),
        _text("workload"),
        sa.Column("level", sa.SmallInteger(), nullable=False),
        _text("outcome"),
        _text("judge"),
        _time("created_at"),
        sa.CheckConstraint("level > 0", name=op.f("ck_verdicts_level_positive")),
        sa.CheckConstraint("outcome IN ('win', 'tie', 'loss')", name=op.f("ck_verdicts_outcome_known")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verdicts")),
    )
    op.create_index(
        op.f("ix_verdicts_tenant_id_model_workload_level"), "verdicts", ["tenant_id", "model", "workload", "level"]
    )
