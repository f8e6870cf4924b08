"""The state folder: everything Sprout keeps on this machine, and who is running on it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from app.domain.errors import AlreadyRunning, ConfigurationError
from app.embedded import locks
from app.embedded.folders import make_folder, make_passage

# Somebody who only looks whether the lock is held holds it for an instant himself.
_LOCK_WAIT_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A running `sprout up`."""

    pid: int
    urls: Mapping[str, str]
    """By name, such as `api_url`; some hold passwords."""


class Home:
    """The folder at `path`, with its parts made: only its owner can look inside.

    Raises:
        ConfigurationError: it cannot be made or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().resolve()
        self.run = self.path / "run"
        self.logs = self.path / "logs"
        self.files = self.path / "files"
        self.models = self.path / "models"
        self._lock: int | None = None
        try:
            make_passage(self.path)
            make_passage(self.run)
            for part in (self.logs, self.files, self.models):
                make_folder(part)
        except OSError as exc:
            raise ConfigurationError(
                f"{self.path} cannot be used as Sprout's folder ({exc.strerror}): set SPROUT_HOME to one that you can "
                "write."
            ) from exc

    def lock(self) -> None:
        """Claim the folder for the rest of this process's life, however that ends; no child inherits the claim.

        Raises:
            AlreadyRunning: another process has it.
        """
        descriptor = locks.acquire(self._lock_path, wait_s=_LOCK_WAIT_S)
        if descriptor is None:
            raise AlreadyRunning(
                f"Sprout is already running on {self.path} (process {self._owner() or 'unknown'}): stop it first, or "
                "set SPROUT_HOME to another folder."
            )
        self._lock = descriptor
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)

    def publish(self, **urls: str) -> None:
        """Tell others on this machine where the stack of this process answers; replaces what was told before."""
        unfinished = self._stack_path.with_suffix(".new")
        unfinished.unlink(missing_ok=True)
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(asdict(Stack(pid=os.getpid(), urls=urls)), file)
        unfinished.replace(self._stack_path)

    def read_stack(self) -> Stack | None:
        """What the running stack published; None if none runs on this folder, or it has not published yet.

        Raises:
            ConfigurationError: the folder belongs to another user.
        """
        try:
            stack = Stack(**json.loads(self._stack_path.read_text()))
        except FileNotFoundError:
            return None
        except PermissionError as exc:
            raise ConfigurationError(
                f"{self._stack_path} cannot be read by this user: ask as the user who started Sprout there, or name "
                "the API's address."
            ) from exc
        return stack if locks.is_held(self._lock_path) and self._owner() == stack.pid else None

    @property
    def _lock_path(self) -> Path:
        return self.path / "lock"

    @property
    def _stack_path(self) -> Path:
        return self.run / "stack.json"

    def _owner(self) -> int | None:
        """The process that wrote its id into the lock last."""
        text = self._lock_path.read_text()
        return int(text) if text else None
