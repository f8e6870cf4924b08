"""Homes for private servers, and a look at what runs in them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
import sqlalchemy

from app.embedded.folders import make_folder
from app.embedded.valkey import EmbeddedValkey


@contextmanager
def temporary_home(*, closed: bool = False) -> Iterator[Path]:
    """A path for a home, short enough for sockets. Every user can get to it, or only its owner if `closed`.

    For root these are two cases: PostgreSQL's data lie in an open home, and elsewhere for a closed one.
    """
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="sprout-test-") as path:
        folder = Path(path)
        folder.chmod(0o755)
        home = (make_folder(folder / "closed") if closed else folder) / "home"
        yield home
        remove_linked_data(home)


def remove_linked_data(home: Path) -> None:
    """Remove what `home` keeps of PostgreSQL outside of itself."""
    if (home / "postgres").is_symlink():
        shutil.rmtree((home / "postgres").readlink().parent)


def gone(pid: int) -> bool:
    """Whether the process has ended; a zombie has, whether or not anybody collects it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):  # the second: it ended between opening and reading
        return True


def sql(url: str, *statements: str) -> list[object]:
    """Run `statements` in one transaction; the first column of the last one's rows."""
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    with engine.begin() as connection:
        for statement in statements:
            result = connection.execute(sqlalchemy.text(statement))
        return list(result.scalars()) if result.returns_rows else []


def client(valkey: EmbeddedValkey) -> redis.Redis:
    """A plain client of the broker, next to Celery's own."""
    return client_of(valkey.url)


def client_of(url: str) -> redis.Redis:
    """And of the broker at a private server's URL."""
    password, _, rest = url.removeprefix("redis+socket://:").partition("@")
    return redis.Redis(unix_socket_path=rest.partition("?")[0], password=password, socket_timeout=5)
