"""Searching everything that is kept for a text."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import text

from app.store.database import Database

COLUMNS = """
    SELECT table_name, column_name, data_type FROM information_schema.columns
    WHERE table_schema = 'public' ORDER BY table_name, ordinal_position
"""


def tables_with(database: Database, marker: str) -> set[str]:
    """`table.column` of every column of every table that holds `marker`, whatever its type; in bytes too."""
    found = set()
    with database.transaction() as connection:
        for table, column, kind in connection.execute(text(COLUMNS)).all():
            name = f'"{table}"."{column}"'
            said = f"encode({name}, 'escape')" if kind == "bytea" else f"{name}::text"
            query = f'SELECT EXISTS (SELECT 1 FROM "{table}" WHERE position(:marker IN {said}) > 0)'
            if connection.execute(text(query), {"marker": marker}).scalar():
                found.add(f"{table}.{column}")
    return found


def files_with(folder: Path, marker: str) -> set[str]:
    """Paths of every file under `folder` that holds `marker`, or is called so."""
    wanted = marker.encode()
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if marker in path.name or (path.is_file() and wanted in path.read_bytes())
    }
