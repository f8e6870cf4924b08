"""Bringing the database to the current schema."""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import text

from app.domain.errors import ConfigurationError
from app.store.database import Database


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "migrations:.")
    return config


def upgrade(database: Database, revision: str = "head") -> None:
    """Apply what is missing; safe to run from several processes at once."""
    config = _config()
    with database.transaction() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def downgrade(database: Database, revision: str) -> None:
    """Go back to `revision`; `base` drops everything."""
    config = _config()
    with database.transaction() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)


def current(database: Database) -> str | None:
    """The revision of the database; None when it has never been migrated."""
    with database.transaction() as connection:
        if connection.execute(text("SELECT to_regclass('alembic_version')")).scalar() is None:
            return None
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def check(database: Database) -> None:
    """Raises ConfigurationError when the database is not at the schema of this code."""
    found, head = current(database), ScriptDirectory.from_config(_config()).get_current_head()
    if found is None:
        raise ConfigurationError(
            "The database of SPROUT_DATABASE_URL has no tables of Sprout: name the installation's, or run "
            "`sprout migrate`."
        )
    if found != head:
        raise ConfigurationError(
            f"The database is at revision {found} and this Sprout needs {head}: run `sprout migrate` with the newer of "
            "the two versions, and install it on all hosts."
        )
