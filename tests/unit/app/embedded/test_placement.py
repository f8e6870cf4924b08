"""Where root's PostgreSQL lies. What a normal user gets is covered by the real servers in the integration tests."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.domain.errors import ServiceUnavailable
from app.embedded.folders import make_folder
from app.embedded.placement import place

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root's PostgreSQL runs as another user")


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Path]:
    """A home that nobody but root can get to."""
    home = make_folder(tmp_path / "closed") / "home"
    yield home
    if (home / "postgres").is_symlink():
        shutil.rmtree((home / "postgres").readlink().parent, ignore_errors=True)


def test_in_an_open_home_the_data_stay_there() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        home = Path(folder) / "home"
        placement = place(home)
        assert placement.data == home / "postgres"
        assert placement.sockets == home / "run" / "postgres"
        assert placement.user is not None
        assert placement.sockets.stat().st_uid == placement.user.pw_uid


def test_in_a_closed_home_the_data_are_linked_and_stay_where_they_are(closed: Path) -> None:
    placement = place(closed)
    assert placement.data.parent.parent == Path("/var/lib/sprout")
    assert (closed / "postgres").readlink() == placement.data
    assert (placement.data.parent / "home").read_text() == f"{closed}\n"
    assert place(closed) == placement


def test_a_new_home_at_an_old_path_gets_no_old_data(closed: Path) -> None:
    old = place(closed).data.parent
    try:
        shutil.rmtree(closed)
        assert place(closed).data.parent != old
    finally:
        shutil.rmtree(old)


def test_linked_data_that_are_gone_are_not_silently_replaced(closed: Path) -> None:
    shutil.rmtree(place(closed).data.parent)
    with pytest.raises(ServiceUnavailable, match="which is gone"):
        place(closed)


def test_data_in_a_home_that_was_closed_later_are_named(closed: Path) -> None:
    (closed / "postgres").mkdir(parents=True)
    with pytest.raises(ServiceUnavailable, match=f"nobody here, who cannot get to {closed}/postgres"):
        place(closed)
