"""What all processes of an installation have to agree on: one row."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert

from app.store.tables import installation


def put(connection: Connection, settings: Mapping[str, Any], now: datetime) -> None:
    """Store these settings in place of earlier ones."""
    row = {"settings": dict(settings), "updated_at": now}
    connection.execute(insert(installation).values(row).on_conflict_do_update(index_elements=["id"], set_=row))


def get(connection: Connection) -> Mapping[str, Any] | None:
    """None before any control plane has started."""
    return connection.execute(select(installation.c.settings)).scalar()
