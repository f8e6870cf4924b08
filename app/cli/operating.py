"""The database as commands of the operator reach it, so that a lost key never locks the operator out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from app.cli.commands import LOOPBACK
from app.cli.stack import database_url
from app.domain.errors import ConfigurationError, ServiceUnavailable
from app.embedded.home import Home
from app.embedded.postgres import EmbeddedPostgres
from app.ports import Clock
from app.services import keys
from app.services.context import SystemClock
from app.settings import Settings, load
from app.store import migrate
from app.store.database import TENANT, Database


@contextmanager
def operator() -> Iterator[tuple[Database, Clock]]:
    """The database of SPROUT_DATABASE_URL, or of the stack that runs on SPROUT_HOME, and its clock; without either, the
    private PostgreSQL of SPROUT_HOME, started for this block.

    Raises:
        ConfigurationError: the database has another schema.
        ServiceUnavailable: PostgreSQL does not answer.
    """
    settings = load()
    clock = SystemClock(speed=settings.clock_speed, start=settings.clock_start)
    try:
        url = database_url(settings)
    except ServiceUnavailable:
        home = Home(settings.home)
        home.lock()
        with private_database(home) as url, closing(Database(url)) as database:
            yield database, clock
        return
    with closing(Database(url)) as database:
        migrate.check(database)
        yield database, clock


@contextmanager
def private_database(home: Home) -> Iterator[str]:
    """The URL of the home's own PostgreSQL, started and migrated for this block; the home is locked."""
    server = EmbeddedPostgres(home.path)
    try:
        url = server.start()
        with closing(Database(url)) as database:
            migrate.upgrade(database)
        yield url
    finally:
        server.stop()


def refuse_open_door(settings: Settings, database: Database) -> None:
    """Raises ConfigurationError when the API would be open to the network without a key."""
    if settings.api_host in LOOPBACK or settings.api_key is not None:
        return
    migrate.check(database)
    if keys.exist(database):
        return
    raise ConfigurationError(
        f"SPROUT_API_HOST={settings.api_host} is open to the network: set SPROUT_API_KEY, make a key with `sprout keys "
        f"create {TENANT}`, or use 127.0.0.1."
    )
