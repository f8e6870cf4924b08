"""One private PostgreSQL and one private Valkey for a whole test session; a database of its own for every test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
import sqlalchemy
from sqlalchemy import Connection

from app.embedded import postgres as embedded_postgres
from app.embedded.postgres import EmbeddedPostgres
from app.embedded.valkey import EmbeddedValkey
from app.store import migrate
from app.store.database import Database
from tests.support.embedded import client, temporary_home

TEMPLATE = "migrated"

_numbers = count(1)


@pytest.fixture(scope="session")
def servers_home() -> Iterator[Path]:
    with temporary_home() as home:
        yield home


@pytest.fixture(scope="session")
def postgres(servers_home: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(servers_home)
    with pytest.MonkeyPatch.context() as monkeypatch:
        # Nothing here has to survive a power cut, and every dropped database is a checkpoint.
        monkeypatch.setitem(embedded_postgres._SETTINGS, "fsync", "off")
        server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def valkey(servers_home: Path) -> Iterator[EmbeddedValkey]:
    server = EmbeddedValkey(servers_home)
    server.start()
    yield server
    server.stop()


def url_of(server: EmbeddedPostgres, database: str) -> str:
    return sqlalchemy.make_url(server.url).set(database=database).render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def administer(postgres: EmbeddedPostgres) -> Iterator[Callable[[str], None]]:
    """Runs one statement outside a transaction, as CREATE and DROP DATABASE need it."""
    engine = sqlalchemy.create_engine(postgres.url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield lambda statement: connection.exec_driver_sql(statement).close()
    engine.dispose()


@pytest.fixture(scope="session")
def template(postgres: EmbeddedPostgres, administer: Callable[[str], None]) -> str:
    """The name of a migrated database that nobody is connected to."""
    administer(f"CREATE DATABASE {TEMPLATE}")
    database = Database(url_of(postgres, TEMPLATE))
    migrate.upgrade(database)
    database.close()
    return TEMPLATE


@pytest.fixture
def database_url(postgres: EmbeddedPostgres, administer: Callable[[str], None], template: str) -> Iterator[str]:
    """A migrated, empty database of this test alone."""
    name = f"test_{next(_numbers)}"
    administer(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield url_of(postgres, name)
    administer(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url, pool_size=20)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def shared_database(postgres: EmbeddedPostgres, administer: Callable[[str], None], template: str) -> Iterator[Database]:
    administer(f"CREATE DATABASE shared TEMPLATE {template}")
    opened = Database(url_of(postgres, "shared"))
    yield opened
    opened.close()


@pytest.fixture
def connection(shared_database: Database) -> Iterator[Connection]:
    """One transaction that is rolled back after the test: quicker than `database`, and apart from it."""
    with shared_database.transaction() as opened:
        yield opened
        opened.rollback()


@pytest.fixture
def unmigrated(postgres: EmbeddedPostgres, administer: Callable[[str], None]) -> Iterator[Database]:
    """A database without any table."""
    name = f"test_{next(_numbers)}"
    administer(f"CREATE DATABASE {name}")
    opened = Database(url_of(postgres, name))
    yield opened
    opened.close()
    administer(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def broker_url(valkey: EmbeddedValkey) -> Iterator[str]:
    """The broker, emptied after the test."""
    yield valkey.url
    with client(valkey) as opened:
        opened.flushall()
