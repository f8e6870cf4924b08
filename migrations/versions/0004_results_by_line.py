"""Results are told apart by their line, and a leased shard may have a copy."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

CHILDREN = {"results": "requests", "responses": "results"}
"""And the table that holds the row of the same request."""


def upgrade() -> None:
    _rekey("custom_id", "line", sa.Integer())
    op.add_column("shards", sa.Column("lease_at_once", sa.Integer(), nullable=True))
    op.add_column("shards", sa.Column("copy_of", sa.Text(), nullable=True))
    op.create_foreign_key(op.f("fk_shards_copy_of"), "shards", "shards", ["copy_of"], ["id"], ondelete="CASCADE")
    op.create_index(
        "ix_shards_copy_of", "shards", ["copy_of"], unique=True, postgresql_where=sa.text("copy_of IS NOT NULL")
    )


def downgrade() -> None:
    # A copy's lines are also those of the shard it was made of.
    op.execute(
        "UPDATE shards SET completed = shards.completed + twin.completed, failed = shards.failed + twin.failed "
        "FROM shards twin WHERE twin.copy_of = shards.id"
    )
    op.execute("DELETE FROM shards WHERE copy_of IS NOT NULL")
    op.drop_index("ix_shards_copy_of", table_name="shards", postgresql_where=sa.text("copy_of IS NOT NULL"))
    op.drop_constraint(op.f("fk_shards_copy_of"), "shards", type_="foreignkey")
    op.drop_column("shards", "copy_of")
    op.drop_column("shards", "lease_at_once")
    _rekey("line", "custom_id", sa.Text())


def _rekey(old: str, new: str, kind: sa.Integer | sa.Text) -> None:
    """Tell the results of a batch apart by `new` instead of `old`, each of which names one request."""
    for table in CHILDREN:
        op.drop_constraint(op.f(f"fk_{table}_batch_id"), table, type_="foreignkey")
    for table in CHILDREN:
        op.add_column(table, sa.Column(new, kind, nullable=True))
        op.execute(
            f"UPDATE {table} SET {new} = requests.{new} FROM requests "  # noqa: S608
            f"WHERE requests.batch_id = {table}.batch_id AND requests.{old} = {table}.{old}"
        )
        op.drop_constraint(op.f(f"pk_{table}"), table, type_="primary")
        op.drop_column(table, old)
        op.create_primary_key(op.f(f"pk_{table}"), table, ["batch_id", new])
    for table, parent in CHILDREN.items():
        op.create_foreign_key(
            op.f(f"fk_{table}_batch_id"), table, parent, ["batch_id", new], ["batch_id", new], ondelete="CASCADE"
        )
