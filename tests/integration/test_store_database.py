from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError

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
    def process() -> object:
        with database.transaction() as connection:
            return connection.execute(text("SELECT pg_backend_pid()")).scalar()

    before = process()
    name = make_url(database_url).database
    administer(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'")
    assert process() != before


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_urls_as_people_write_them(database_url: str, scheme: str) -> None:
    _, _, rest = database_url.partition("://")
    opened = Database(f"{scheme}://{rest}")
    with opened.transaction() as connection:
        reached = connection.execute(text("SELECT current_database()")).scalar()
    opened.close()
    assert reached == make_url(database_url).database


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


@pytest.mark.parametrize(
    "statement",
    [
        # A constraint, whose error cites the row, and a value that cannot be read.
        "INSERT INTO requests (batch_id, line, tenant_id, custom_id, workload) VALUES ('b', -1, 't', :m, 'w')",
        "SELECT CAST(:m AS integer)",
        "INSERT INTO retention (tenant_id, kind, keep_s) VALUES ('t', :m, 1)",
    ],
)
def test_errors_do_not_cite_rows(database: Database, statement: str) -> None:
    with pytest.raises(DBAPIError) as caught, database.transaction() as connection:
        connection.execute(text(statement), {"m": "zanzibarquux"})
    said = "".join(traceback.format_exception(caught.value))
    assert "zanzibarquux" not in said.replace('{"m": "zanzibarquux"}', "")
    assert type(caught.value.orig).__name__ in said


def test_a_copy_does_not_cite_what_it_copied(database: Database) -> None:
    row = ("t", "prompts", "zanzibar" + "quux")

    def copy() -> None:
        with database.transaction() as connection:
            connection.exec_driver_sql("SELECT 1")
            driver: Any = connection.connection.driver_connection
            with driver.cursor() as cursor, cursor.copy("COPY retention (tenant_id, kind, keep_s) FROM STDIN") as into:
                into.write_row(row)

    with pytest.raises(psycopg.DataError) as caught:
        copy()
    assert "zanzibarquux" not in "".join(traceback.format_exception(caught.value))
