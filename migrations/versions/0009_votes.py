"""What people need to vote on sampled answers: whose answers they are, and names that give nothing away."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

TABLE = "evaluation_samples"
ADDED = ("ticket", "seed")


def upgrade() -> None:
    op.add_column(TABLE, sa.Column("fingerprint", sa.Text(), nullable=True))
    for name in ADDED:
        # Rows that are there get one of their own each; later ones bring theirs.
        random = sa.text("replace(gen_random_uuid()::text, '-', '')")
        op.add_column(TABLE, sa.Column(name, sa.Text(), server_default=random, nullable=False))
        op.alter_column(TABLE, name, server_default=None)
    op.create_unique_constraint(op.f("uq_evaluation_samples_ticket"), TABLE, ["ticket"])


def downgrade() -> None:
    op.drop_constraint(op.f("uq_evaluation_samples_ticket"), TABLE)
    for name in (*ADDED, "fingerprint"):
        op.drop_column(TABLE, name)
