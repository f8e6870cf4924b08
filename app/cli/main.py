"""The `sprout` command."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import closing

import click

from app.cli import commands
from app.cli.batch import batch
from app.cli.calibrate import calibrate
from app.cli.directives import directives
from app.cli.evaluations import evaluations
from app.cli.grid import grid
from app.cli.joining import join
from app.cli.keys import keys
from app.cli.operating import refuse_open_door
from app.cli.replay import replay
from app.cli.summarize import summarize
from app.cli.tenants import tenants
from app.cli.up import up
from app.cli.vote import vote
from app.cli.webhooks import webhooks
from app.domain.errors import SproutError
from app.ports import Queue
from app.settings import load
from app.store import migrate as migrations
from app.store.database import Database


@click.group()
@click.version_option(package_name="sprout")
def cli() -> None:
    """Carbon-aware batch LLM inference that you host yourself. All settings are SPROUT_* variables."""


def _become(command: Sequence[str]) -> None:
    """Replace this process, so that signals and supervisors reach the real one."""
    os.execv(command[0], list(command))  # noqa: S606


@cli.command()
def api() -> None:
    """Serve the HTTP API."""
    settings = load()
    if settings.database_url is not None:
        with closing(Database(settings.database_url.get_secret_value())) as database:
            refuse_open_door(settings, database)
    _become(commands.api(settings))


@cli.command()
def beat() -> None:
    """Ring the periodic tasks. Run exactly one."""
    _become(commands.beat(load()))


@cli.command()
@click.option(
    "--queues",
    required=True,
    metavar="NAME[,NAME]",
    help=f"Queues to consume: {', '.join(Queue)}. A worker of `generate` loads the engine.",
)
@click.option("--name", help="Name of the worker on this host; by default that of its first queue.")
@click.option("--zone", help="Grid zone of this host, as SPROUT_ZONE; by default the installation's first.")
@click.option("--model", help="Model to serve, as SPROUT_MODEL; by default the installation's own.")
def worker(queues: str, name: str | None, zone: str | None, model: str | None) -> None:
    """Run a worker.

    On another host it needs SPROUT_DATABASE_URL and SPROUT_BROKER_URL only: what else it has to know of the
    installation stands in the database. Variables that are set here win.
    """
    try:
        chosen = [Queue(queue) for queue in queues.split(",")]
    except ValueError as exc:
        raise click.BadParameter(f"{exc}; the queues are {', '.join(Queue)}.", param_hint="--queues") from exc
    os.environ.update({f"SPROUT_{key}": value for key, value in (("ZONE", zone), ("MODEL", model)) if value})
    if Queue.SCHEDULE not in chosen:
        join(os.environ)
    _become(commands.worker(load(), chosen, name))


@cli.command()
def flower() -> None:
    """Show workers and tasks in a browser. FLOWER_BASIC_AUTH=user:password guards it."""
    _become(commands.flower(load()))


@cli.command()
def migrate() -> None:
    """Bring the database to the current schema."""
    settings = load()
    if settings.database_url is None:
        raise click.UsageError("SPROUT_DATABASE_URL is not set; `sprout up` migrates its own database.")
    database = Database(settings.database_url.get_secret_value())
    migrations.upgrade(database)
    click.echo(f"The database is at revision {migrations.current(database)}.")


cli.add_command(up)
cli.add_command(batch)
cli.add_command(summarize)
cli.add_command(directives)
cli.add_command(evaluations)
cli.add_command(vote)
cli.add_command(webhooks)
cli.add_command(grid)
cli.add_command(calibrate)
cli.add_command(replay)
cli.add_command(tenants)
cli.add_command(keys)


def main() -> None:
    """Entry point: an error of ours is one sentence, not a traceback."""
    try:
        cli(standalone_mode=True)
    except SproutError as exc:
        click.echo(f"sprout: {exc.message}", err=True)
        sys.exit(1)
