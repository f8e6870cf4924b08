"""Models of prompt classes, per tenant and model name, by version."""

from __future__ import annotations

from datetime import datetime
from io import BytesIO
from typing import Any

import numpy as np
from sqlalchemy import Connection, delete, or_, select
from sqlalchemy.dialects.postgresql import insert

from app.discovery.embedding import Embedding, Stored
from app.discovery.model import ClassModel
from app.discovery.strata import Strata
from app.store.knowledge import class_models

KEPT = 3
"""Versions, to look back at; only the newest is used."""


def put(connection: Connection, tenant: str, model: str, entry: ClassModel, now: datetime) -> bool:
    """Store a new version and forget old and stale ones; False, and nothing is written, if that version is there
    already."""
    row = {"tenant_id": tenant, "model": model, "created_at": now, **_row(entry)}
    statement = insert(class_models).values(row).on_conflict_do_nothing().returning(class_models.c.version)
    written = connection.execute(statement).first() is not None
    table = class_models.c
    connection.execute(
        delete(class_models).where(
            table.tenant_id == tenant,
            table.model == model,
            or_(table.version <= entry.version - KEPT, table.stale),
        )
    )
    return written


def is_stale(connection: Connection, tenant: str, model: str) -> bool:
    """Whether prompts were erased from which a version was learned."""
    table = class_models.c
    query = select(table.version).where(table.tenant_id == tenant, table.model == model, table.stale)
    return connection.execute(query.limit(1)).first() is not None


def drop_stale(connection: Connection) -> None:
    """Forget what was learned from prompts that were erased since, and was not learned anew."""
    connection.execute(delete(class_models).where(class_models.c.stale))


def newest(connection: Connection, tenant: str, model: str) -> ClassModel | None:
    table = class_models.c
    query = select(class_models).where(table.tenant_id == tenant, table.model == model).order_by(table.version.desc())
    row = connection.execute(query.limit(1)).mappings().first()
    return _model(dict(row)) if row else None


def newest_learning(connection: Connection, tenant: str, model: str) -> tuple[datetime, int] | None:
    """When the newest version was stored, and from how many prompts it was learned."""
    table = class_models.c
    query = select(table.created_at, table.prompts).where(table.tenant_id == tenant, table.model == model)
    row = connection.execute(query.order_by(table.version.desc()).limit(1)).first()
    return (row.created_at, row.prompts) if row else None


def _row(entry: ClassModel) -> dict[str, Any]:
    return {
        "version": entry.version,
        "prompts": entry.prompts,
        "vocabulary": list(entry.embedding.vocabulary),
        "strata_of": list(entry.strata.workloads),
        "numbers": list(entry.numbers),
        "issued": entry.issued,
        "projection": _packed(entry.embedding.projection),
        "centre": _packed(entry.embedding.centre),
        "scale": _packed(entry.embedding.scale),
        "centroids": _packed(entry.centroids),
        "coefficients": _packed(entry.strata.coefficients),
        "intercepts": _packed(entry.strata.intercepts),
        "cuts": _packed(entry.strata.cuts),
    }


def _model(row: dict[str, Any]) -> ClassModel:
    return ClassModel(
        version=row["version"],
        prompts=row["prompts"],
        embedding=Embedding(
            vocabulary=tuple(row["vocabulary"]),
            projection=_unpacked(row["projection"]),
            centre=_unpacked(row["centre"]),
            scale=_unpacked(row["scale"]),
        ),
        centroids=_unpacked(row["centroids"]),
        numbers=tuple(row["numbers"]),
        issued=row["issued"],
        strata=Strata(
            workloads=tuple(row["strata_of"]),
            coefficients=_unpacked(row["coefficients"]),
            intercepts=_unpacked(row["intercepts"]),
            cuts=_unpacked(row["cuts"]),
        ),
    )


def _packed(array: Stored) -> bytes:
    file = BytesIO()
    np.save(file, array.astype("<f4"), allow_pickle=False)
    return file.getvalue()


def _unpacked(packed: bytes) -> Stored:
    return np.asarray(np.load(BytesIO(packed), allow_pickle=False), dtype=np.float32)
