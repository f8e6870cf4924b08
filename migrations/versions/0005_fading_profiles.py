"""Profiles that fade, and the length of answers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

LENGTHS = """
    UPDATE profiles SET completion_tokens = found.mean
    FROM (
        SELECT tenant_id, model, workload, level, avg(completion_tokens) AS mean FROM results
        WHERE status_code = 200 AND mix_id IS NOT NULL GROUP BY tenant_id, model, workload, level
    ) AS found
    WHERE (profiles.tenant_id, profiles.model, profiles.workload, profiles.level)
        = (found.tenant_id, found.model, found.workload, found.level)
"""


def upgrade() -> None:
    """Deviations lose Bessel's correction, which has no meaning where requests count in part."""
    op.alter_column("profiles", "requests", type_=sa.Float(), existing_type=sa.BigInteger(), existing_nullable=False)
    op.execute(_scaled("(requests - 1) / requests"))
    op.add_column("profiles", sa.Column("completion_tokens", sa.Float(), server_default="0", nullable=False))
    op.execute(LENGTHS)
    op.alter_column("profiles", "completion_tokens", server_default=None)


def downgrade() -> None:
    """Profiles that rest on less than one request count as one."""
    op.drop_column("profiles", "completion_tokens")
    op.execute("UPDATE profiles SET requests = greatest(round(requests), 1)")
    op.execute(_scaled("requests / greatest(requests - 1, 1)"))
    op.alter_column(
        "profiles",
        "requests",
        type_=sa.BigInteger(),
        existing_type=sa.Float(),
        existing_nullable=False,
        postgresql_using="requests::bigint",
    )


def _scaled(variance: str) -> str:
    factor = f"sqrt({variance})"
    return f"UPDATE profiles SET energy_sd_j = energy_sd_j * {factor}, device_sd_s = device_sd_s * {factor}"  # noqa: S608
