"""`sprout calibrate`: what a token costs on this machine."""

from __future__ import annotations

import math
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime

import click

from app.cli.operating import private_database
from app.domain.errors import ConfigurationError
from app.embedded import tether
from app.embedded.home import Home
from app.embedded.logs import log_path, open_log
from app.services.calibration import LEAST_PHASES, PHASE_S, phases_in, refuse_company
from app.settings import Settings, load
from app.store.database import Database

LEAST_MINUTES = math.ceil(LEAST_PHASES * PHASE_S / 60)
NAME = "calibrate"
"""Of its log."""
NO_BROKER = "memory://"
"""Nothing is sent meanwhile."""


@click.command()
@click.option(
    "--minutes",
    type=click.FloatRange(LEAST_MINUTES, 60),
    default=7.0,
    show_default=True,
    help="How long to measure, apart from loading the model: two windows of each kind take 5. Longer is more exact.",
)
def calibrate(minutes: float) -> None:
    """Measure what a token of a prompt, a token of an answer and an idle second cost on this machine.

    Its workers split what they meter by these costs from then on. Nothing else should run meanwhile: not the stack of
    SPROUT_HOME either, whose database is started for this alone.
    """
    settings = load()
    if settings.engine != "vllm":
        raise ConfigurationError(
            f"SPROUT_ENGINE={settings.engine} tells too late how far requests are: calibrate machines that run vLLM."
        )
    home = Home(settings.home)
    home.lock()
    with _database(settings, home) as url:
        if settings.database_url is not None:
            # The stack of SPROUT_HOME cannot run while its folder is locked, others on this database can.
            with closing(Database(url)) as database:
                refuse_company(database, datetime.now(UTC))
        environment = dict(
            os.environ,
            SPROUT_HOME=str(home.path),
            SPROUT_DATABASE_URL=url,
            SPROUT_BROKER_URL=NO_BROKER,
            VLLM_LOGGING_STREAM="ext://sys.stderr",
        )
        click.echo(f"Loading the model; its log is {log_path(home.path, NAME)}.")
        with open_log(home.path, NAME) as log:
            process = tether.start(
                [sys.executable, "-m", "workers.calibrate", str(phases_in(minutes))],
                signal_on_parent_death=signal.SIGKILL,
                env=environment,
                stderr=log,
                new_session=False,
            )
        status = process.wait()
    sys.exit(status)


@contextmanager
def _database(settings: Settings, home: Home) -> Iterator[str]:
    """The URL of SPROUT_DATABASE_URL, or of the home's own PostgreSQL, started and migrated for this block."""
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
        return
    with private_database(home) as url:
        yield url
