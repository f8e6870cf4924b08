"""Models of prompt classes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "class_models",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("prompts", sa.Integer(), nullable=False),
        sa.Column("vocabulary", sa.ARRAY(sa.Text(), dimensions=1), nullable=False),
        sa.Column("strata_of", sa.ARRAY(sa.Text(), dimensions=1), nullable=False),
        sa.Column("numbers", sa.ARRAY(sa.Integer(), dimensions=1), nullable=False),
        sa.Column("issued", sa.Integer(), nullable=False),
        sa.Column("projection", sa.LargeBinary(), nullable=False),
        sa.Column("centre", sa.LargeBinary(), nullable=False),
        sa.Column("scale", sa.LargeBinary(), nullable=False),
        sa.Column("centroids", sa.LargeBinary(), nullable=False),
        sa.Column("coefficients", sa.LargeBinary(), nullable=False),
        sa.Column("intercepts", sa.LargeBinary(), nullable=False),
        sa.Column("cuts", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("version > 0", name=op.f("ck_class_models_version_positive")),
        sa.CheckConstraint("issued > 0", name=op.f("ck_class_models_issued_positive")),
        sa.PrimaryKeyConstraint("tenant_id", "model", "version", name=op.f("pk_class_models")),
    )


def downgrade() -> None:
    """Requests and mixes keep the names of discovered workloads and strata; they are served as any others."""
    op.drop_table("class_models")
