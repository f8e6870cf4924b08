"""A bell that only writes down who rang."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from app.domain.errors import DispatchUnavailable
from app.ports import Queue, Task


class RecordingDispatcher:
    """The Dispatcher port. What was sent waits in `sent`, and for the workers of other zones than the default one and
    of other models in `elsewhere`, by `place` or `place@model`; while `away`, the broker cannot be reached."""

    def __init__(self) -> None:
        self.sent: list[tuple[Task, str]] = []
        self.elsewhere: dict[str, list[tuple[Task, str]]] = {}
        self.away = False
        self._urgent: set[tuple[Task, str]] = set()

    def send(self, task: Task, argument: str, *, place: str = "", model: str = "", urgent: bool = False) -> None:
        self._reach()
        line = self._line(place, model)
        message = (task, argument)
        if urgent:
            self._urgent.add(message)
        behind = next((at for at, other in enumerate(line) if other not in self._urgent), len(line))
        line.insert(behind if urgent else len(line), message)

    def depth(self, queue: Queue, *, place: str = "", model: str = "") -> int:
        self._reach()
        return sum(task.queue is queue for task, _ in self._line(place, model))

    def _line(self, place: str, model: str) -> list[tuple[Task, str]]:
        name = f"{place}@{model}" if model else place
        return self.elsewhere.setdefault(name, []) if name else self.sent

    def arguments(self, task: Task) -> Sequence[str]:
        """What `task` was asked for, in order."""
        return [argument for sent, argument in self.sent if sent is task]

    def take_all(self) -> Sequence[tuple[Task, str]]:
        """Empty the queues, as workers would."""
        taken, self.sent = self.sent, []
        return taken

    def _reach(self) -> None:
        if self.away:
            raise DispatchUnavailable("The message broker does not answer: it is away.")


@pytest.fixture
def dispatcher() -> RecordingDispatcher:
    return RecordingDispatcher()
