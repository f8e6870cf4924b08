"""Tenants with keys, limits and shares; what was used this month counts from the start."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _add_tenants()
    _add_keys()
    op.create_table(
        "tenant_hours",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("start_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("footprint_g", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "start_at", name=op.f("pk_tenant_hours")),
    )
    op.create_table(
        "tenant_shares",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("device_s", sa.Float(), nullable=False),
        sa.Column("requests", sa.Float(), nullable=False),
        sa.Column("as_of", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_tenant_shares")),
    )
    op.execute(
        """
        INSERT INTO tenant_hours (tenant_id, start_at, tokens, footprint_g)
        SELECT tenant_id, date_trunc('hour', finished_at, 'UTC'), sum(prompt_tokens::bigint + completion_tokens),
               sum(operational_g + embodied_g)
        FROM results WHERE finished_at >= date_trunc('month', now() - interval '1 day', 'UTC') GROUP BY 1, 2
        """
    )


def _add_tenants() -> None:
    op.create_table(
        "tenants",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("weight", sa.Float(), server_default="1", nullable=False),
        sa.Column("queued_requests", sa.BigInteger(), nullable=True),
        sa.Column("batches_per_hour", sa.Integer(), nullable=True),
        sa.Column("tokens_per_day", sa.BigInteger(), nullable=True),
        sa.Column("carbon_g_per_month", sa.Float(), nullable=True),
        sa.Column("hold", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("weight > 0", name=op.f("ck_tenants_weight_positive")),
        sa.CheckConstraint(
            "queued_requests >= 0 AND batches_per_hour >= 0 AND tokens_per_day >= 0 AND carbon_g_per_month >= 0",
            name=op.f("ck_tenants_limits_not_negative"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenants")),
    )


def _add_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("scopes", sa.ARRAY(sa.Text(), dimensions=1), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_api_keys_tenant_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("prefix", name=op.f("pk_api_keys")),
    )
    op.create_index(op.f("ix_api_keys_tenant_id"), "api_keys", ["tenant_id"])


def downgrade() -> None:
    for name in ("tenant_shares", "tenant_hours", "api_keys", "tenants"):
        op.drop_table(name)
