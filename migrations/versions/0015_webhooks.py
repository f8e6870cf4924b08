"""Webhooks of tenants, and one outbox for all that webhooks are told."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0011"
branch_labels = None
depends_on = None


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable)


def _time(name: str, *, nullable: bool = True) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def upgrade() -> None:
    endpoints, deliveries = "webhook_endpoints", "webhook_deliveries"
    op.create_table(
        endpoints,
        _text("id"),
        _text("tenant_id", nullable=True),
        _text("name"),
        _text("url"),
        _text("secret"),
        sa.Column("event_types", sa.ARRAY(sa.Text()), nullable=False),
        _time("created_at", nullable=False),
        _time("disabled_at"),
        _time("succeeded_at"),
        _time("failed_at"),
        _text("fault", nullable=True),
        sa.Column("failing", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("given_up", sa.Integer(), server_default="0", nullable=False),
        sa.CheckConstraint("given_up >= 0", name=op.f("ck_webhook_endpoints_given_up_not_negative")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_endpoints")),
    )
    op.create_index(op.f("ix_webhook_endpoints_tenant_id"), endpoints, ["tenant_id"])
    op.create_table(
        deliveries,
        _text("id"),
        _text("tenant_id"),
        _text("endpoint_id"),
        _text("body"),
        _time("due_at", nullable=False),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        _time("lease_expires_at"),
        sa.CheckConstraint("tries >= 0", name=op.f("ck_webhook_deliveries_tries_not_negative")),
        sa.ForeignKeyConstraint(
            ["endpoint_id"],
            ["webhook_endpoints.id"],
            name=op.f("fk_webhook_deliveries_endpoint_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_deliveries")),
    )
    op.create_index(op.f("ix_webhook_deliveries_endpoint_id"), deliveries, ["endpoint_id"])
    op.create_index(op.f("ix_webhook_deliveries_due_at"), deliveries, ["due_at"])
    op.drop_column("events", "attempts")
    op.drop_column("events", "told_at")


def downgrade() -> None:
    op.add_column("events", _time("told_at"))
    op.add_column("events", sa.Column("attempts", sa.Integer(), server_default="0", nullable=False))
    # Whatever is still to be told is lost with the outbox, and nothing is told twice.
    op.execute("UPDATE events SET told_at = at")
    op.drop_table("webhook_deliveries")
    op.drop_table("webhook_endpoints")
