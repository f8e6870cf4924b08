from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.embedded.postgres import EmbeddedPostgres
from app.store.database import Database
from app.store.schema import metadata
from tests.support.api import Api
from tests.support.clock import FakeClock
from tests.support.dispatcher import RecordingDispatcher
from tests.support.engine import EchoEngine
from tests.support.servers import url_of
from tests.support.services import Desk, Desks


@pytest.fixture(scope="session")
def services_database(
    postgres: EmbeddedPostgres, administer: Callable[[str], None], template: str
) -> Iterator[Database]:
    """One database for all tests of services: emptying it is faster than a clone of the template for each."""
    administer(f"CREATE DATABASE services TEMPLATE {template}")
    opened = Database(url_of(postgres, "services"), pool_size=20)
    yield opened
    opened.close()
    administer("DROP DATABASE services WITH (FORCE)")


EMPTY = "; ".join(f"DELETE FROM {table.name}" for table in reversed(metadata.sorted_tables))
"""At once: most tests write to a few tables only, and each begins with none that has a row."""


@pytest.fixture
def emptied(services_database: Database) -> Iterator[Database]:
    yield services_database
    with services_database.transaction() as connection:
        connection.exec_driver_sql(EMPTY)


@pytest.fixture
def desks(emptied: Database, clock: FakeClock, dispatcher: RecordingDispatcher, tmp_path: Path) -> Iterator[Desks]:
    made = Desks(database=emptied, clock=clock, dispatcher=dispatcher, home=tmp_path / "home")
    yield made
    for engine in made.engines:
        engine.close()


@pytest.fixture
def desk(desks: Desks) -> Desk:
    return desks.desk()


@pytest.fixture
def engine() -> Iterator[EchoEngine]:
    opened = EchoEngine()
    yield opened
    opened.close()


@pytest.fixture
def api(desk: Desk) -> Iterator[Api]:
    served = Api(desk.context)
    yield served
    served.app.state.endings.close()
