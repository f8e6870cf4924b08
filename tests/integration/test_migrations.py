"""The migrations, replayed on a real PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import ProgrammingError

from app.store import migrate
from app.store.database import Database
from app.store.schema import metadata
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]
HEAD = ScriptDirectory(str(ROOT / "migrations")).get_current_head()


def objects(database: Database) -> list[str]:
    """Everything of ours in the database: tables, indexes, sequences, functions."""
    query = """
        SELECT relkind::text || ' ' || relname FROM pg_class WHERE relnamespace = 'public'::regnamespace
        UNION ALL SELECT 'function ' || proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
        ORDER BY 1
    """
    with database.transaction() as connection:
        return list(connection.execute(text(query)).scalars())


def test_tables_and_migrations_agree(database: Database) -> None:
    with database.transaction() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_server_default": True, "compare_type": True, "target_metadata": metadata}
        )
        assert compare_metadata(context, metadata) == []


def test_check_constraints_agree_too(database: Database, unmigrated: Database) -> None:
    """Alembic does not compare them."""
    query = """
        SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace AND conrelid <> 0 AND conrelid::regclass::text <> 'alembic_version'
        ORDER BY 1
    """
    with database.transaction() as migrated, unmigrated.transaction() as built:
        built.execute(text(function_of(migrated, "is_distribution")))
        metadata.create_all(built)
        replayed = list(migrated.execute(text(query)).scalars())
        assert replayed == list(built.execute(text(query)).scalars())
        assert sum("CHECK" in constraint for constraint in replayed) > 20


def function_of(connection: Connection, name: str) -> str:
    return str(connection.execute(text(f"SELECT pg_get_functiondef('{name}'::regproc)")).scalar())


def test_indexes_agree_with_their_conditions(database: Database, unmigrated: Database) -> None:
    """Alembic does not compare what a partial index leaves out."""
    query = """
        SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'alembic_version' ORDER BY 1
    """
    with database.transaction() as migrated, unmigrated.transaction() as built:
        built.execute(text(function_of(migrated, "is_distribution")))
        metadata.create_all(built)
        assert list(migrated.execute(text(query)).scalars()) == list(built.execute(text(query)).scalars())


def test_the_comparison_notices_a_difference(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute(text("ALTER TABLE shards ALTER losses SET DEFAULT 1, DROP COLUMN lease_owner"))
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert len(compare_metadata(context, metadata)) == 2
        connection.rollback()


def test_up_down_and_up_again(unmigrated: Database) -> None:
    assert migrate.current(unmigrated) is None
    migrate.upgrade(unmigrated)
    assert migrate.current(unmigrated) == HEAD
    first = objects(unmigrated)
    migrate.downgrade(unmigrated, "base")
    assert migrate.current(unmigrated) is None
    assert objects(unmigrated) == ["i alembic_version_pkc", "r alembic_version"]
    migrate.upgrade(unmigrated)
    assert migrate.current(unmigrated) == HEAD
    assert objects(unmigrated) == first


def test_a_migrated_database_is_left_alone(database: Database) -> None:
    before = objects(database)
    migrate.upgrade(database)
    assert objects(database) == before


MIGRATOR = """
import sys
from app.store import migrate
from app.store.database import Database
migrate.upgrade(Database(sys.argv[1]))
"""


def test_two_migrators_at_once_both_succeed(unmigrated: Database) -> None:
    url = unmigrated.raw().url.render_as_string(hide_password=False)
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    with unmigrated.transaction() as holder:
        holder.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": 0x5370726F7574})
        migrators = [subprocess.Popen([sys.executable, "-c", MIGRATOR, url], cwd=ROOT) for _ in range(2)]
        try:
            eventually(lambda: holder.execute(text(waiting)).scalar() == 2, within_s=30)
            holder.rollback()
            assert [migrator.wait(timeout=30) for migrator in migrators] == [0, 0]
        finally:
            for migrator in migrators:
                migrator.kill()
                migrator.wait()
    assert migrate.current(unmigrated) == HEAD


def test_a_migration_that_fails_leaves_nothing_behind(unmigrated: Database) -> None:
    with unmigrated.transaction() as connection:
        connection.execute(text("CREATE TABLE responses (in_the_way integer)"))
    with pytest.raises(ProgrammingError, match="responses"):
        migrate.upgrade(unmigrated)
    assert objects(unmigrated) == ["r responses"]


def test_a_migrator_takes_its_lock_and_bounds_its_waiting_before_it_changes_anything(unmigrated: Database) -> None:
    seen: list[str] = []
    event.listen(unmigrated.raw(), "before_cursor_execute", lambda *call: seen.append(call[2]))
    migrate.upgrade(unmigrated)
    first_change = next(number for number, statement in enumerate(seen) if "CREATE" in statement)
    before = " ".join(seen[:first_change])
    assert all(name in before for name in ("lock_timeout", "statement_timeout", "pg_advisory_xact_lock"))


BEFORE_MODELS = """
    INSERT INTO files (id, tenant_id, purpose, filename, bytes, created_at) VALUES ('f', 't', 'batch', 'f', 1, now());
    INSERT INTO batches (id, tenant_id, endpoint, input_file_id, completion_window, status, created_at, expires_at)
    VALUES ('ran', 't', 'e', 'f', '24h', 'in_progress', now(), now()),
           ('waits', 't', 'e', 'f', '24h', 'in_progress', now(), now()),
           ('unread', 't', 'e', 'f', '24h', 'validating', now(), now());
    INSERT INTO requests (batch_id, line, tenant_id, custom_id, workload, body)
    VALUES ('ran', 1, 't', 'a', 'w', '{"model": "typed"}'), ('waits', 1, 't', 'a', 'w', '{"model": "typed"}');
    INSERT INTO windows (worker, started_at, ended_at, energy_j, device_s, idle_energy_j, idle_device_s, energy_basis,
                         zone, intensity_g_per_kwh, intensity_basis, intensity_origin)
    VALUES ('w', now(), now(), 0, 0, 0, 0, 'modelled', 'Z', 1, 'b', 'measured')
"""
RAN = """
    INSERT INTO results (batch_id, line, tenant_id, workload, status_code, model, level, probability,
                         prompt_tokens, completion_tokens, energy_j, device_s, energy_basis, zone, intensity_g_per_kwh,
                         intensity_basis, intensity_origin, pue, operational_g, embodied_g, finished_at)
    VALUES ('ran', 1, 't', 'w', 200, 'served', 0, 1, 1, 1, 1, 1, 'modelled', 'Z', 1, 'b', 'measured', 1, 1, 1, now())
"""


@pytest.mark.parametrize(("statements", "batches", "window"), [(RAN, "served", "served"), ("SELECT 1", "typed", "")])
def test_what_ran_before_there_were_several_models_keeps_its_own(
    unmigrated: Database, statements: str, batches: str, window: str
) -> None:
    migrate.upgrade(unmigrated, "0005")
    with unmigrated.transaction() as connection:
        connection.exec_driver_sql(BEFORE_MODELS)
        connection.exec_driver_sql(statements)
    migrate.upgrade(unmigrated, "0006")
    with unmigrated.transaction() as connection:
        found = dict(connection.execute(text("SELECT id, model FROM batches")).all())
        assert found == {"ran": batches, "waits": batches, "unread": None}
        assert connection.execute(text("SELECT model FROM windows")).scalar() == window


def test_deleted_files_are_stood_in_for_where_batches_must_have_them(unmigrated: Database) -> None:
    migrate.upgrade(unmigrated, "0011")
    with unmigrated.transaction() as connection:
        connection.exec_driver_sql("""
            INSERT INTO files (id, tenant_id, purpose, filename, bytes, created_at)
            VALUES ('kept', 't', 'batch', 'f', 1, now());
            INSERT INTO batches (id, tenant_id, endpoint, input_file_id, output_file_id, completion_window, status,
                                 created_at, expires_at)
            VALUES ('a', 't', 'e', 'kept', NULL, '24h', 'cancelled', now(), now()),
                   ('b', 't', 'e', 'gone', 'out', '24h', 'cancelled', now(), now()),
                   ('c', 't', 'e', 'gone', NULL, '24h', 'cancelled', now(), now())
        """)
    migrate.downgrade(unmigrated, "0010")
    with unmigrated.transaction() as connection:
        found = connection.execute(text("SELECT id, tenant_id, purpose, filename, bytes FROM files ORDER BY id")).all()
        assert [tuple(row) for row in found] == [
            ("gone", "t", "batch", "deleted", 0),
            ("kept", "t", "batch", "f", 1),
            ("out", "t", "batch_output", "deleted", 0),
        ]
