from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import make_url, text

from app.domain.errors import ConfigurationError, ServiceUnavailable
from app.store.database import Database
from tests.support.factories import store_batch


def test_a_transaction_commits_at_its_end(database: Database) -> None:
    with database.transaction() as connection:
        batch = store_batch(connection)
    with database.transaction() as connection:
        assert connection.execute(text("SELECT id FROM batches")).scalars().all() == [batch.id]


def test_an_exception_undoes_everything(database: Database) -> None:
    def fail() -> None:
        with database.transaction() as connection:
            store_batch(connection)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with database.transaction() as connection:
        assert connection.execute(text("SELECT count(*) FROM batches")).scalar() == 0


def test_a_transaction_that_was_rolled_back_by_hand(database: Database) -> None:
    with database.transaction() as connection:
        store_batch(connection)
        connection.rollback()
    with database.transaction() as connection:
        assert connection.execute(text("SELECT count(*) FROM batches")).scalar() == 0


def test_sessions_are_in_utc(database: Database) -> None:
    with database.transaction() as connection:
        assert connection.execute(text("SHOW timezone")).scalar() == "UTC"


def test_a_connection_that_the_server_ended_is_replaced(
    database: Database, database_url: str, administer: Callable[[str], None]
) -> None:
    database.ping()
    name = make_url(database_url).database
    administer(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'")
    database.ping()


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_urls_as_people_write_them(database_url: str, scheme: str) -> None:
    _, _, rest = database_url.partition("://")
    opened = Database(f"{scheme}://{rest}")
    opened.ping()
    opened.close()


@pytest.mark.parametrize("url", ["mysql://host/sprout", "sqlite://", "", "host/sprout", "postgresql+asyncpg://host/x"])
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"SPROUT_DATABASE_URL .*Sprout needs PostgreSQL, such as postgresql://"
    ):
        Database(url)


def test_a_server_that_does_not_answer(database_url: str, tmp_path: Path) -> None:
    away = make_url(database_url).set(query={"host": str(tmp_path)}).render_as_string(hide_password=False)
    opened = Database(away)
    with pytest.raises(ServiceUnavailable, match=r"PostgreSQL does not answer: .*No such file"):
        opened.ping()
    opened.close()


def test_a_wrong_password_is_not_shown(database_url: str) -> None:
    opened = Database(make_url(database_url).set(password="not-the-secret").render_as_string(hide_password=False))
    with pytest.raises(ServiceUnavailable, match="password authentication failed") as refusal:
        opened.ping()
    assert "not-the-secret" not in refusal.value.message
    opened.close()
