"""Which endpoints a model answers, as the worker that loaded it says."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("deployments", sa.Column("endpoints", sa.ARRAY(sa.Text(), dimensions=1), nullable=True))


def downgrade() -> None:
    op.drop_column("deployments", "endpoints")
