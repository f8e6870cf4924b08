"""Files that expire, and that may be deleted before the batches that name them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

REFERENCES = {"input_file_id": "batch", "output_file_id": "batch_output", "error_file_id": "batch_output"}
"""Columns that name a file, and its purpose."""

FILES = sa.table("files", *map(sa.column, ("id", "tenant_id", "purpose", "filename", "bytes", "created_at")))


def upgrade() -> None:
    op.add_column("files", sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index("ix_files_expiring", "files", ["expires_at"], postgresql_where=sa.text("expires_at IS NOT NULL"))
    op.add_column("batches", sa.Column("output_expires_after_s", sa.Integer(), nullable=True))
    op.create_check_constraint(op.f("ck_batches_output_expires_later"), "batches", "output_expires_after_s > 0")
    for column in REFERENCES:
        op.drop_constraint(op.f(f"fk_batches_{column}"), "batches")


def downgrade() -> None:
    for column, purpose in REFERENCES.items():
        # An empty file stands in for one that has been deleted.
        batches = sa.table("batches", *map(sa.column, ("tenant_id", column)))
        file_id = batches.c[column]
        rows = sa.select(
            file_id, batches.c.tenant_id, sa.literal(purpose), sa.literal("deleted"), sa.literal(0), sa.func.now()
        ).where(file_id.is_not(None), ~sa.exists().where(FILES.c.id == file_id))
        op.execute(sa.insert(FILES).from_select(FILES.c.keys(), rows.distinct()))
        op.create_foreign_key(op.f(f"fk_batches_{column}"), "batches", "files", [column], ["id"])
    op.drop_constraint(op.f("ck_batches_output_expires_later"), "batches")
    op.drop_column("batches", "output_expires_after_s")
    op.drop_index("ix_files_expiring", "files")
    op.drop_column("files", "expires_at")
