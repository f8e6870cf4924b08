"""Log files of the processes we start: their standard output and error, appended."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from app.embedded.folders import make_folder

_ROTATE_BYTES = 10 * 1024 * 1024
_TAIL_BYTES = 64 * 1024


def log_path(home: Path, name: str) -> Path:
    """Where the process called `name` logs."""
    return home / "logs" / f"{name}.log"


def open_log(home: Path, name: str) -> BinaryIO:
    """The log of `name`, for appending; one over 10 MB first becomes `<name>.log.1`, replacing the previous one.

    Rotating here and nowhere else keeps it safe: nobody writes to the file between two lives of its process.
    """
    path = log_path(home, name)
    make_folder(path.parent)
    if path.exists() and path.stat().st_size > _ROTATE_BYTES:
        path.replace(path.with_name(f"{path.name}.1"))
    return path.open("ab")


def last_lines(path: Path, count: int = 15) -> str:
    """The end of a log, for an error message; empty when there is none."""
    if not path.exists():
        return ""
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        lines = log.read().decode(errors="replace").splitlines()
    return "\n".join(lines[-count:])
