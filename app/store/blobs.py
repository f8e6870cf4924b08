"""File stores: a folder of this machine, or object storage; one file per id."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

import fsspec

from app.domain.errors import ConfigurationError, NotFound

PART_BYTES = 8 << 20
"""As much of a file that is being written lies in memory; S3 takes no less than 5 MiB at once, and 10 000 parts."""
READ_BYTES = 1 << 20
"""As much is asked for at once."""


class FolderStore:
    """The FileStore port: a folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextmanager
    def create(self, file_id: str) -> Iterator[BinaryIO]:
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

    def open(self, file_id: str) -> BinaryIO:
        try:
            return (self._root / file_id).open("rb")
        except FileNotFoundError as exc:
            raise _gone(file_id, self._root) from exc

    def remove(self, file_id: str) -> None:
        (self._root / file_id).unlink(missing_ok=True)


class ObjectStore:
    """The FileStore port: whatever fsspec reaches under a URL, such as `s3://bucket/prefix`.

    Raises:
        ConfigurationError: nothing is known of such URLs, or the package for them is not installed.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        try:
            self._system, self._root = fsspec.url_to_fs(url)
        except (ImportError, ValueError) as exc:
            raise ConfigurationError(f"SPROUT_FILES_URL={url} cannot be used: {exc}") from exc

    @contextmanager
    def create(self, file_id: str) -> Iterator[BinaryIO]:
        # Closing alone would make a half-written object appear.
        file = self._system.open(self._path(file_id), "wb", block_size=PART_BYTES, autocommit=False)
        try:
            yield file
            file.close()
            file.commit()
        except BaseException:
            file.discard()
            # Some stores show what is written at once.
            self.remove(file_id)
            raise

    def open(self, file_id: str) -> BinaryIO:
        try:
            raw: Any = self._system.open(self._path(file_id), "rb", block_size=READ_BYTES, cache_type="readahead")
        except FileNotFoundError as exc:
            raise _gone(file_id, self._url) from exc
        # fsspec's own files know no longest line.
        return cast(BinaryIO, io.BufferedReader(raw, READ_BYTES))

    def remove(self, file_id: str) -> None:
        with suppress(FileNotFoundError):
            self._system.rm_file(self._path(file_id))

    def _path(self, file_id: str) -> str:
        return f"{self._root}/{file_id}"


def _gone(file_id: str, place: Path | str) -> NotFound:
    return NotFound(f"The content of file '{file_id}' is no longer in {place}.")
