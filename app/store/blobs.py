"""The file store: one folder, one file per id."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from app.domain.errors import NotFound


class FileStore:
    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, file_id: str) -> Path:
        """Raises NotFound."""
        path = self._root / file_id
        if not path.is_file():
            raise NotFound(f"The content of file '{file_id}' is no longer in {self._root}.")
        return path

    @contextmanager
    def create(self, file_id: str) -> Iterator[BinaryIO]:
        """A file that appears whole at the end of the block, on disk, or not at all."""
        unfinished = self._root / f".{file_id}.{os.getpid()}"
        try:
            with unfinished.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(self._root / file_id)
            self._sync_folder()
        finally:
            unfinished.unlink(missing_ok=True)

    def _sync_folder(self) -> None:
        """Without it a power cut can take the new name away again, after its row was committed."""
        folder = os.open(self._root, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def remove(self, file_id: str) -> None:
        (self._root / file_id).unlink(missing_ok=True)
