"""The small files around the servers: folders, logs, locks and passwords."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

import pytest

from app.domain.errors import ServiceUnavailable
from app.embedded import locks, password
from app.embedded.folders import make_folder, passable, socket_folder
from app.embedded.logs import last_lines, open_log


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_folder_gets_its_mode_whatever_the_umask(tmp_path: Path) -> None:
    previous = os.umask(0o077)
    try:
        made = make_folder(tmp_path / "folder", 0o711)
    finally:
        os.umask(previous)
    assert mode(made) == 0o711


def test_one_closed_folder_on_the_way_makes_it_impassable(tmp_path: Path) -> None:
    assert passable(Path("/usr/lib"))
    closed = make_folder(tmp_path / "closed")
    assert not passable(closed / "deeper" / "still")


def test_a_short_socket_path_is_used_as_it_is() -> None:
    assert socket_folder(Path("/tmp"), "s") == Path("/tmp")


@pytest.mark.parametrize("name", ["x" * 100, "comma,separated", "with blank", "at@sign"])
def test_an_unfit_socket_path_is_replaced_by_a_private_folder(tmp_path: Path, name: str) -> None:
    folder = socket_folder(tmp_path / name, "valkey.sock")
    try:
        assert folder.parent == Path("/tmp")
        assert mode(folder) == 0o700
        assert len(str(folder / "valkey.sock")) <= 107
        assert socket_folder(tmp_path / name, "valkey.sock") == folder
    finally:
        folder.rmdir()


def test_a_replacement_folder_that_others_can_enter_is_refused(tmp_path: Path) -> None:
    folder = socket_folder(tmp_path / "with blank", "valkey.sock")
    try:
        folder.chmod(0o777)
        with pytest.raises(ServiceUnavailable, match=str(folder)):
            socket_folder(tmp_path / "with blank", "valkey.sock")
    finally:
        folder.rmdir()


def test_logs_are_appended_and_turned_over_at_ten_megabytes(tmp_path: Path) -> None:
    for line in (b"one\n", b"two\n"):
        with open_log(tmp_path, "worker") as log:
            log.write(line)
    current = tmp_path / "logs" / "worker.log"
    assert current.read_bytes() == b"one\ntwo\n"
    os.truncate(current, 10 * 1024 * 1024 + 1)
    with open_log(tmp_path, "worker") as log:
        log.write(b"three\n")
    assert current.read_bytes() == b"three\n"
    assert (tmp_path / "logs" / "worker.log.1").read_bytes().startswith(b"one\ntwo\n")


def test_the_end_of_a_log(tmp_path: Path) -> None:
    path = tmp_path / "log"
    assert last_lines(path) == ""
    path.write_bytes(b"\xff broken\n" + b"".join(b"line %d\n" % i for i in range(20_000)))
    assert last_lines(path, 2) == "line 19998\nline 19999"


def test_a_password_is_made_once_and_kept_private(tmp_path: Path) -> None:
    path = tmp_path / "password"
    (tmp_path / "password.new").write_text("left by a crash")
    first = password.read_or_create(path)
    assert len(first) >= 32
    assert password.read_or_create(path) == first
    assert mode(path) == 0o600
    assert os.listdir(tmp_path) == ["password"]


def test_a_lock_is_refused_while_held_and_not_inherited(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not locks.is_held(path)
    held = locks.acquire(path, wait_s=0)
    assert held is not None
    assert locks.is_held(path)
    assert locks.acquire(path, wait_s=0.05) is None
    assert fcntl.fcntl(held, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    os.close(held)
    assert not locks.is_held(path)
