"""The private servers when they, or whoever started them, are killed; alone and under the supervisor."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import sqlalchemy

from app.domain.errors import ServiceUnavailable
from app.embedded import locks, tether
from app.embedded.home import Home
from app.embedded.placement import SOCKET_NAME
from app.embedded.postgres import EmbeddedPostgres
from app.embedded.server import EmbeddedServer
from app.embedded.supervisor import Child, Supervisor
from app.embedded.valkey import EmbeddedValkey
from tests.support.embedded import client, gone, sql, temporary_home
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root's PostgreSQL runs as another user")


@pytest.fixture(params=[pytest.param("open", marks=pytest.mark.long), "closed"])
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


def test_postgres_recovers_after_kill(postgres: EmbeddedPostgres) -> None:
    url = postgres.start()
    sql(url, "CREATE TABLE note (text text)", "INSERT INTO note VALUES ('committed')")
    postgres.process.kill()
    postgres.process.wait()
    assert (postgres.placement.data / "postmaster.pid").exists()
    assert postgres.start() == url
    assert sql(url, "SELECT text FROM note") == ["committed"]


def test_a_number_that_went_to_another_process_does_not_block_postgres(open_home: Path) -> None:
    postgres = EmbeddedPostgres(open_home)
    url = postgres.start()
    stranger = tether.start(["sleep", "300"], signal_on_parent_death=signal.SIGKILL, user=postgres.placement.user)
    try:
        postgres.process.kill()
        postgres.process.wait()
        for path in (postgres.placement.data / "postmaster.pid", postgres.placement.sockets / f"{SOCKET_NAME}.lock"):
            _, _, rest = path.read_text().partition("\n")
            path.write_text(f"{stranger.pid}\n{rest}")
        assert sql(postgres.start(), "SELECT 1") == [1]
        assert postgres.url == url
    finally:
        postgres.stop()
        tether.stop(stranger, signal.SIGKILL, timeout_s=20)


def test_valkey_loses_nothing_that_reached_the_disk_when_killed(valkey: EmbeddedValkey) -> None:
    valkey.start()
    with client(valkey) as before:
        before.rpush("queue", *range(20))
        assert before.execute_command("WAITAOF", 1, 0, 10_000)[0] == 1
    valkey.process.kill()
    valkey.process.wait()
    valkey.start()
    with client(valkey) as after:
        assert after.lrange("queue", 0, -1) == [str(i).encode() for i in range(20)]


BOTH = """
    import signal, sys
    from pathlib import Path
    if sys.version_info < (3, 11, 3):  # where redis-py asks for a package that Python replaced in 3.11
        import asyncio
        sys.modules["async_timeout"] = asyncio
    from app.embedded.postgres import EmbeddedPostgres
    from app.embedded.valkey import EmbeddedValkey
    servers = [EmbeddedPostgres(Path(sys.argv[1])), EmbeddedValkey(Path(sys.argv[1]))]
    for server in servers:
        print(server.start(), server.process.pid, flush=True)
    signal.pause()
"""


def start_both(python: str, home: Path, **options: Any) -> tuple[subprocess.Popen[str], list[str], list[int]]:
    """A process that started both servers; their URLs and process ids."""
    command = [python, "-c", textwrap.dedent(BOTH), str(home)]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, **options)
    assert parent.stdout is not None
    lines = [parent.stdout.readline().split() for _ in range(2)]
    if not all(lines):
        parent.communicate(timeout=30)
        pytest.fail("the servers did not start: see the captured standard error")
    return parent, [url for url, _ in lines], [int(pid) for _, pid in lines]


def test_a_killed_parent_leaves_no_server_and_the_next_start_does_not_wait_for_luck(home: Path) -> None:
    parent, _, pids = start_both(sys.executable, home)
    with parent:
        assert not any(map(gone, pids))
        parent.kill()
        # At once, while both are still shutting down.
        servers: list[EmbeddedServer] = [EmbeddedPostgres(home), EmbeddedValkey(home)]
        try:
            for server in servers:
                server.start()
                assert locks.is_held(home / "run" / f"{server.name}.lock")
            assert all(map(gone, pids))
        finally:
            for server in servers:
                server.stop()
    assert not any(locks.is_held(home / "run" / f"{server.name}.lock") for server in servers)


def test_everything_killed_at_once_recovers(home: Path) -> None:
    parent, urls, pids = start_both(sys.executable, home)
    sql(urls[0], "CREATE TABLE note (text text)", "INSERT INTO note VALUES ('committed')")
    with parent:
        for pid in (*pids, parent.pid):
            os.kill(pid, signal.SIGKILL)
    eventually(lambda: all(map(gone, pids)))
    servers: list[EmbeddedServer] = [EmbeddedPostgres(home), EmbeddedValkey(home)]
    try:
        assert [server.start() for server in servers] == urls
        assert sql(urls[0], "SELECT text FROM note") == ["committed"]
    finally:
        for server in servers:
            server.stop()


def test_a_second_server_on_the_same_home_is_refused(valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.embedded.server._PREDECESSOR_WAIT_S", 0.1)
    valkey.start()
    with pytest.raises(ServiceUnavailable, match=f"Another valkey still runs on {valkey.home}"):
        EmbeddedValkey(valkey.home).start()
    with client(valkey) as first:
        assert first.ping()


def as_normal_user(uid: int) -> dict[str, Any]:
    """Options that make a Python of `uid` find our packages."""
    paths = f"{ROOT}:{Path(redis.__file__).parents[1]}"
    environment = {"PATH": os.defpath, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    return {"env": environment, "user": uid, "group": uid, "extra_groups": []}


def python_of(uid: int) -> str:
    """An interpreter that `uid` can run with our packages, or a skip that says why there is none."""
    for candidate in (sys.executable, "/usr/bin/python3"):
        probe = [candidate, "-c", "import psycopg, app.embedded.home"]
        try:
            subprocess.run(probe, cwd=ROOT, check=True, capture_output=True, **as_normal_user(uid))
        except (OSError, subprocess.CalledProcessError):
            continue
        return candidate
    pytest.skip(f"user {uid} can read no Python that has our packages: the interpreter lies in a closed folder")


@needs_root
def test_a_normal_user_needs_nothing_of_root(open_home: Path) -> None:
    uid = pwd.getpwnam("nobody").pw_uid  # initdb wants one that exists
    python = python_of(uid)
    os.chown(open_home.parent, uid, uid)
    parent, urls, pids = start_both(python, open_home, **as_normal_user(uid))
    with parent:
        try:
            assert [Path(f"/proc/{pid}").stat().st_uid for pid in pids] == [uid, uid]
            assert (open_home / "postgres" / "PG_VERSION").is_file()
            assert open_home.stat().st_mode & 0o777 == 0o700
            assert sql(urls[0], "SELECT 1") == [1]
        finally:
            parent.kill()
    eventually(lambda: all(map(gone, pids)))


def test_a_supervised_server_comes_back_under_the_same_url(open_home: Path) -> None:
    home = Home(open_home)
    postgres, valkey = EmbeddedPostgres(home.path), EmbeddedValkey(home.path)
    url = postgres.start()
    first = postgres.process
    valkey.start()
    watched: list[str] = []

    def watch(server: EmbeddedServer) -> Child:
        def start() -> subprocess.Popen[bytes]:
            watched.append(server.name)
            return server.spawn()

        return Child(
            name=server.name,
            start=start,
            stop_signal=server.stop_signal,
            stop_timeout_s=server.stop_timeout_s,
            log=server.log,
        )

    failures: list[BaseException] = []

    def answers() -> bool:
        try:
            return sql(url, "SELECT 1") == [1]
        except sqlalchemy.exc.OperationalError:
            return False

    def play() -> None:
        try:
            eventually(lambda: watched == ["postgres", "valkey"])
            first.kill()
            eventually(lambda: postgres.process is not first and answers())
        except BaseException as exc:  # noqa: BLE001 - raised again in the main thread
            failures.append(exc)
        os.kill(os.getpid(), signal.SIGTERM)

    reports: list[str] = []
    thread = threading.Thread(target=play)
    thread.start()
    Supervisor([watch(postgres), watch(valkey)], report=reports.append).run()
    thread.join()
    assert failures == []
    assert reports == [f"postgres was ended by SIGKILL. It is started again in 0.2 s. Its log is {postgres.log}."]
    assert [postgres.process.returncode, valkey.process.returncode] == [0, 0]
