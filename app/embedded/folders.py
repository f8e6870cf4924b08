"""Folders that are ours: made with the right mode and owner; those of others are never changed."""

from __future__ import annotations

import hashlib
import os
import pwd
import re
import stat
from pathlib import Path

from app.domain.errors import ServiceUnavailable

PRIVATE = 0o700
PASSABLE = 0o711
"""Others may go through to what is theirs, but not list."""

_SOCKET_PATH_BYTES = 107
_SHORT = Path("/tmp")  # noqa: S108 - the folders made in it are private, and TMPDIR may be long or change
# Socket paths become part of URLs and of PostgreSQL's comma-separated lists; anything else would need escaping there.
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_./-]+")


def make_folder(path: Path, mode: int = PRIVATE, owner: pwd.struct_passwd | None = None) -> Path:
    """Make `path` with exactly `mode` and `owner` (None: us), whatever the umask; one that exists stays as it is."""
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        return path
    path.chmod(mode)
    if owner is not None:
        os.chown(path, owner.pw_uid, owner.pw_gid)
    return path


def make_passage(path: Path) -> Path:
    """Make `path` private, except for root: its PostgreSQL runs as another user, who must be able to get through.

    Where that user is stopped further up, opening `path` would not help, and it stays private for root too.
    """
    return make_folder(path, PASSABLE if os.geteuid() == 0 and passable(path.parent) else PRIVATE)


def passable(path: Path) -> bool:
    """Whether any other user can go through `path` and every folder above it; `path` need not exist yet."""
    return all(
        folder.stat().st_mode & stat.S_IXOTH for folder in (path.resolve(), *path.resolve().parents) if folder.exists()
    )


def short_hash(path: Path) -> str:
    """Names `path` in places where the whole would be too long."""
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:12]


def socket_folder(preferred: Path, socket_name: str, owner: pwd.struct_passwd | None = None) -> Path:
    """A private folder of `owner` (None: us) for the socket: `preferred`, or one under /tmp if its path would not do.

    The kernel allows 107 bytes for a socket's path.

    Raises:
        ServiceUnavailable: somebody else took the name under /tmp.
    """
    fits = len(os.fsencode(preferred / socket_name)) <= _SOCKET_PATH_BYTES
    if fits and _PLAIN_PATH.fullmatch(str(preferred)) and (owner is None or passable(preferred.parent)):
        return make_folder(preferred, PRIVATE, owner)
    uid = os.geteuid() if owner is None else owner.pw_uid
    folder = make_folder(_SHORT / f"sprout-{uid}-{short_hash(preferred)}", PRIVATE, owner)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid or stat.S_IMODE(found.st_mode) != PRIVATE:
        raise ServiceUnavailable(f"{folder} is not a private folder of user {uid}: remove it and start again.")
    return folder
