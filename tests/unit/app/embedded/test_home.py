from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.domain.errors import AlreadyRunning, ConfigurationError
from app.embedded.home import Home

OWNER = """
import sys
from pathlib import Path
from app.embedded.home import Home
home = Home(Path(sys.argv[1]))
home.lock()
home.publish(api_url="http://127.0.0.1:1234")
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that runs on `tmp_path`/home."""
    command = [sys.executable, "-c", OWNER, str(tmp_path / "home")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_folder_and_its_parts_are_private(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o700)
    home = Home(tmp_path / "closed" / "home")
    assert {mode(part) for part in (home.path, home.run, home.logs, home.files, home.models)} == {0o700}


def test_root_lets_its_database_user_through_an_open_folder() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        home = Home(Path(folder) / "home")
        way_through = 0o711 if os.geteuid() == 0 else 0o700
        assert [mode(home.path), mode(home.run)] == [way_through, way_through]
        assert {mode(part) for part in (home.logs, home.files, home.models)} == {0o700}


def test_an_existing_folder_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "home"
    path.mkdir()
    path.chmod(0o750)
    Home(path)
    assert mode(path) == 0o750


def test_a_folder_that_cannot_be_made_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="SPROUT_HOME"):
        Home(tmp_path / "file" / "home")


def test_a_second_process_is_refused_and_told_who_runs(tmp_path: Path, owner: subprocess.Popen[str]) -> None:
    with pytest.raises(AlreadyRunning, match=rf"{tmp_path}/home \(process {owner.pid}\)"):
        Home(tmp_path / "home").lock()


def test_the_lock_dies_with_its_process(tmp_path: Path, owner: subprocess.Popen[str]) -> None:
    owner.kill()
    owner.wait()
    home = Home(tmp_path / "home")
    home.lock()
    assert (home.path / "lock").read_text() == str(os.getpid())


def test_two_locks_in_one_process_refuse_each_other(tmp_path: Path) -> None:
    first = Home(tmp_path / "home")
    first.lock()
    with pytest.raises(AlreadyRunning, match=str(os.getpid())):
        Home(tmp_path / "home").lock()


def test_a_child_does_not_inherit_the_lock(tmp_path: Path) -> None:
    script = OWNER.replace(
        'print("ready", flush=True)',
        'import subprocess; child = subprocess.Popen(["sleep", "300"], close_fds=False); print(child.pid, flush=True)',
    )
    command = [sys.executable, "-c", script, str(tmp_path / "home")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
        parent.wait()
        try:
            Home(tmp_path / "home").lock()
        finally:
            os.kill(child, 9)


def test_a_running_stack_can_be_found(tmp_path: Path, owner: subprocess.Popen[str]) -> None:
    home = Home(tmp_path / "home")
    stack = home.read_stack()
    assert stack is not None
    assert (stack.pid, stack.urls) == (owner.pid, {"api_url": "http://127.0.0.1:1234"})
    assert mode(home.run / "stack.json") == 0o600


def test_a_dead_stack_is_not_found(tmp_path: Path, owner: subprocess.Popen[str]) -> None:
    owner.kill()
    owner.wait()
    assert Home(tmp_path / "home").read_stack() is None


def test_what_an_earlier_stack_published_does_not_count_for_the_next(
    tmp_path: Path, owner: subprocess.Popen[str]
) -> None:
    owner.kill()
    owner.wait()
    home = Home(tmp_path / "home")
    home.lock()
    assert home.read_stack() is None
    home.publish(api_url="http://127.0.0.1:5678")
    stack = home.read_stack()
    assert stack is not None
    assert stack.urls["api_url"] == "http://127.0.0.1:5678"


def test_an_empty_home_has_no_stack(tmp_path: Path) -> None:
    assert Home(tmp_path / "home").read_stack() is None
