"""A worker that joins an installation, on whichever host: it takes over what the control plane has published."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import closing
from typing import Any

import click

from app.domain.errors import ConfigurationError
from app.embedded.home import Home
from app.services import installation
from app.settings import load
from app.store import installation as stored
from app.store import migrate
from app.store.database import Database

PATIENCE_S = 60.0
"""The control plane may be starting too."""
_PROBE_S = 0.5


def join(environment: MutableMapping[str, str]) -> None:
    """Complete `environment` by what the installation has published. A variable that is set stays, and what differs is
    told.

    Raises:
        ConfigurationError: a URL is missing, the database is not an installation's, or the zone is not one of its.
        ServiceUnavailable: PostgreSQL does not answer.
    """
    for name in ("database_url", "broker_url"):
        if getattr(load(), name) is None:
            environment[f"SPROUT_{name.upper()}"] = _of_the_stack_here(name)
    load.cache_clear()
    with closing(Database(environment["SPROUT_DATABASE_URL"])) as database:
        found = _published(database)
    _check_zone(environment.get("SPROUT_ZONE"), found)
    for line in _differences(found, environment):
        click.echo(f"sprout: {line}", err=True)
    environment.update(installation.variables(found, environment))
    load.cache_clear()


def _of_the_stack_here(name: str) -> str:
    """A URL of the stack that `sprout up` runs on SPROUT_HOME.

    Raises:
        ConfigurationError: there is none.
    """
    stack = Home(load().home).read_stack()
    if stack is None or name not in stack.urls:
        raise ConfigurationError(
            f"SPROUT_{name.upper()} is not set, and no `sprout up` runs on {load().home}: name the installation's."
        )
    return stack.urls[name]


def _published(database: Database) -> Mapping[str, Any]:
    migrate.check(database)
    deadline = time.monotonic() + PATIENCE_S
    while True:
        with database.transaction() as connection:
            found = stored.get(connection)
        if found is not None:
            return found
        if time.monotonic() > deadline:
            raise ConfigurationError(
                "No scheduler worker has ever run on the database of SPROUT_DATABASE_URL: start the installation's "
                "control plane first."
            )
        time.sleep(_PROBE_S)


def _check_zone(zone: str | None, found: Mapping[str, Any]) -> None:
    if zone and zone not in found["zones"]:
        raise ConfigurationError(
            f"Zone {zone} is not one of the installation's, which are {', '.join(found['zones'])}: use one of these, "
            "or add it to SPROUT_ZONES of the control plane and restart that."
        )


def _differences(found: Mapping[str, Any], environment: Mapping[str, str]) -> Iterator[str]:
    """What this worker would do otherwise than the rest of the installation."""
    own = installation.shared(load())
    for name in installation.SHARED:
        given = environment.get(installation.variable(name))
        if given and own.get(name) != found.get(name):
            yield (
                f"{installation.variable(name)}={given} here, but {installation.as_text(found.get(name))} in the "
                "installation: leave it out, unless you mean to differ."
            )
