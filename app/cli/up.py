"""`sprout up`: the whole stack on one machine."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import closing

import click

from app.cli import commands
from app.cli.operating import refuse_open_door
from app.composition import engine_model
from app.domain.errors import ConfigurationError
from app.embedded import tether
from app.embedded.home import Home
from app.embedded.logs import log_path, open_log
from app.embedded.password import read_or_create
from app.embedded.postgres import EmbeddedPostgres
from app.embedded.server import EmbeddedServer
from app.embedded.supervisor import Child, Supervisor
from app.embedded.valkey import EmbeddedValkey
from app.grid.providers import provider
from app.ports import Queue
from app.settings import Settings, load
from app.store import migrate
from app.store.database import Database

STOP_TIMEOUT_S = 20.0
FLOWER_USER = "sprout"


@click.command()
def up() -> None:
    """Start everything on this machine and keep it running until Ctrl-C.

    PostgreSQL and Valkey are private ones unless SPROUT_DATABASE_URL and SPROUT_BROKER_URL name others.
    """
    settings = load()
    home = Home(settings.home)
    home.lock()
    _check(settings)
    servers: list[EmbeddedServer] = []
    environment = dict(os.environ, SPROUT_HOME=str(home.path))
    try:
        for variable, given, kind in (
            ("SPROUT_DATABASE_URL", settings.database_url, EmbeddedPostgres),
            ("SPROUT_BROKER_URL", settings.broker_url, EmbeddedValkey),
        ):
            if given is None:
                server: EmbeddedServer = kind(home.path)
                servers.append(server)
                environment[variable] = server.start()
        api_port, flower_port = _free_port(settings, "api_port"), _free_port(settings, "flower_port")
        environment |= {"SPROUT_API_PORT": str(api_port), "SPROUT_FLOWER_PORT": str(flower_port)}
        password = read_or_create(home.run / "flower-password")
        environment.setdefault("FLOWER_BASIC_AUTH", f"{FLOWER_USER}:{password}")
        _prepare(environment["SPROUT_DATABASE_URL"], settings)
        children = _children(settings, home, servers, environment, api_port, flower_port)
        home.publish(
            api_url=_url(settings, api_port),
            flower_url=_url(settings, flower_port, environment),
            database_url=environment["SPROUT_DATABASE_URL"],
            broker_url=environment["SPROUT_BROKER_URL"],
        )
        _announce(home, children)
        Supervisor(children, report=lambda line: print(f"sprout: {line}", flush=True)).run()
    finally:
        for server in reversed(servers):
            server.stop()
    print("sprout: everything has stopped.", flush=True)


def _check(settings: Settings) -> None:
    """Find out now, in one sentence, what would otherwise make a child die again and again.

    Raises ConfigurationError.
    """
    provider(settings)
    if settings.engine == "vllm":
        if importlib.util.find_spec("vllm") is None:
            raise ConfigurationError("vLLM is not installed: run `make install`, or set SPROUT_ENGINE=openai.")
        engine_model(settings)


def _prepare(url: str, settings: Settings) -> None:
    """Raises ConfigurationError when the API would be open to the network."""
    with closing(Database(url)) as database:
        migrate.upgrade(database)
        refuse_open_door(settings, database)


def _free_port(settings: Settings, name: str) -> int:
    """The configured port, or a free one for 0. Raises ConfigurationError when it is taken."""
    port = int(getattr(settings, name))
    family = socket.AF_INET6 if ":" in settings.api_host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.api_host, port))
        except OSError as exc:
            raise ConfigurationError(
                f"Port {port} of {settings.api_host} cannot be used ({exc.strerror}): set SPROUT_{name.upper()} to "
                "another one, or to 0 for any free one."
            ) from exc
        return int(probe.getsockname()[1])


def _url(settings: Settings, port: int, environment: Mapping[str, str] | None = None) -> str:
    host = f"[{settings.api_host}]" if ":" in settings.api_host else settings.api_host
    login = f"{environment['FLOWER_BASIC_AUTH']}@" if environment else ""
    return f"http://{login}{host}:{port}"


def _children(
    settings: Settings,
    home: Home,
    servers: Sequence[EmbeddedServer],
    environment: Mapping[str, str],
    api_port: int,
    flower_port: int,
) -> Sequence[Child]:
    placed = settings.model_copy(update={"api_port": api_port, "flower_port": flower_port})
    own = [
        Child(
            name=server.name,
            start=server.spawn,
            stop_signal=server.stop_signal,
            stop_timeout_s=server.stop_timeout_s,
            log=server.log,
        )
        for server in servers
    ]
    processes = (
        ("api", commands.api(placed), _url(placed, api_port)),
        ("beat", commands.beat(placed), None),
        ("scheduler", commands.worker(placed, [Queue.SCHEDULE], "scheduler"), None),
        ("generator", commands.worker(placed, [Queue.GENERATE], "generator"), None),
        ("flower", commands.flower(placed, environment), _url(placed, flower_port, environment)),
    )
    return [*own, *(_process(home, name, command, environment, url) for name, command, url in processes)]


def _process(home: Home, name: str, command: Sequence[str], environment: Mapping[str, str], url: str | None) -> Child:
    def start() -> subprocess.Popen[bytes]:
        with open_log(home.path, name) as log:
            return tether.start(
                command, signal_on_parent_death=signal.SIGKILL, env=environment, stdout=log, stderr=subprocess.STDOUT
            )

    return Child(
        name=name,
        start=start,
        stop_signal=signal.SIGTERM,
        stop_timeout_s=STOP_TIMEOUT_S,
        url=url,
        log=log_path(home.path, name),
    )


def _announce(home: Home, children: Sequence[Child]) -> None:
    lines = [f"sprout: state in {home.path}, logs in {home.logs}"]
    lines += [f"  {child.name:<10} {child.url or ''}".rstrip() for child in children]
    print(*lines, "sprout: running; Ctrl-C stops everything.", sep="\n", flush=True)
