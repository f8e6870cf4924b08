"""`sprout retention` and `sprout erase` on the database itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app.cli.main import cli
from app.domain.errors import InvalidInput, NotFound
from app.settings import load
from app.store.database import TENANT, Database
from tests.support.factories import store_batch
from tests.support.search import tables_with


@pytest.fixture
def sprout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, database_url: str) -> Callable[..., Result]:
    monkeypatch.setenv("SPROUT_HOME", str(tmp_path))
    monkeypatch.setenv("SPROUT_DATABASE_URL", database_url)
    load.cache_clear()

    def run(*arguments: str, answer: str | None = None) -> Result:
        return CliRunner().invoke(cli, arguments, input=answer)

    yield run
    load.cache_clear()


def test_times_are_shown_and_set(sprout: Callable[..., Result]) -> None:
    shown = sprout("retention", "--tenant", TENANT).output
    assert "prompts   until erased" in shown
    assert "samples   2592000 s" in shown
    changed = sprout("retention", "--tenant", TENANT, "prompts=3600", "samples=erased").output
    assert "prompts   3600 s" in changed
    assert "samples   until erased" in changed
    assert sprout("retention", "--tenant", TENANT, "prompts=default", "samples=default").output == shown
    for wrong in ("prompts", "prompts=soon", "secrets=5", "prompts=-1", "prompts=nan"):
        assert isinstance(sprout("retention", "--tenant", TENANT, wrong).exception, InvalidInput)


@pytest.mark.parametrize("times", [(), ("prompts=3600",), ("prompts=default",)])
def test_times_of_a_tenant_that_is_not_there(sprout: Callable[..., Result], times: Sequence[str]) -> None:
    refused = sprout("retention", "--tenant", "acmee", *times)
    assert isinstance(refused.exception, NotFound)
    assert "There is no tenant 'acmee'" in str(refused.exception)


def test_a_tenant_is_erased_when_that_is_meant(sprout: Callable[..., Result], database: Database) -> None:
    with database.transaction() as connection:
        batch = store_batch(connection, lines=2)
    assert sprout("erase", "--tenant", TENANT, answer="n\n").exit_code == 1
    assert tables_with(database, batch.id)
    done = sprout("erase", "--tenant", TENANT, "--yes")
    assert done.output == "Nothing of the tenant default is left. docs/privacy.md says what erasing does not reach.\n"
    assert tables_with(database, batch.id) == set()
    assert isinstance(sprout("erase", "--tenant", TENANT, "--yes").exception, NotFound)
