"""The seams of Sprout: what the core needs from the outside world, as Protocols.

Every implementation, the fakes in `tests/support` included, passes the port's suite in `tests/contracts`.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from enum import StrEnum
from typing import Any, BinaryIO, Literal, Protocol

from app.domain.attribution import Work
from app.domain.completion import Completion, EngineRequest
from app.domain.intensity import Basis, Forecast, IntensityPoint
from app.domain.judging import Comparison, Kind, Opinion

EnergyBasis = Literal["measured", "modelled"]


class Clock(Protocol):
    def now(self) -> datetime:
        """The present, UTC-aware."""
        ...

    def monotonic(self) -> float:
        """Seconds, by the same pace, that nobody can set back."""
        ...


class FileStore(Protocol):
    """The bytes of files, by id. For several threads and processes at once; no file lies whole in memory."""

    def create(self, file_id: str) -> AbstractContextManager[BinaryIO]:
        """A file to write, which is there, whole and durable, once the block has ended; not at all if it failed."""
        ...

    def open(self, file_id: str) -> BinaryIO:
        """A file to read and to seek in. Raises NotFound."""
        ...

    def remove(self, file_id: str) -> None:
        """Does nothing where the file is not there."""
        ...


class Engine(Protocol):
    """Continuous-batching inference. Thread-safe: several shards call `generate` at once."""

    @property
    def devices(self) -> int:
        """Accelerators (or CPU sockets' worth: 1 on a machine without) that the engine occupies."""
        ...

    @property
    def endpoints(self) -> Sequence[str]:
        """Paths of the endpoints that it answers, as far as it knows; a request for another becomes a 400."""
        ...

    def generate(
        self, requests: Sequence[EngineRequest], *, timeout_s: float, wait_s: float
    ) -> Generator[Sequence[Completion], None, None]:
        """Run `requests` and yield each exactly once, in groups, in the order in which they finish.

        They start in the order given. A group is what finished within `wait_s` seconds, nothing included, so that the
        caller can renew its lease; it comes sooner only if it is the last. A request that runs longer than `timeout_s`
        is aborted and becomes a completion with status 408; one with an unusable parameter becomes a 400. Closing the
        iterator aborts what is still in flight.

        Raises:
            EngineFailed: the engine is gone; what was not yielded has not been answered.
        """
        ...

    def drain_work(self) -> Mapping[str, Work]:
        """Work done per request key since the previous call, for all callers of `generate` together.

        Requests that ended since the previous call appear a last time, aborted ones too. Empty when idle. Place-seconds
        are there for every request that ran. Tokens may come late, at the end of the request, where the engine cannot
        be watched, and those of an aborted request may then be absent.
        """
        ...

    def busy_s(self) -> float:
        """Cumulative seconds for which the engine kept its hardware fully busy; never decreases."""
        ...

    def close(self) -> None:
        """Abort everything in flight and free the hardware. Safe to call twice."""
        ...


class Tokenizer(Protocol):
    """Counts tokens without loading a model."""

    @property
    def context_tokens(self) -> int:
        """The model's context: prompt and answer together, in tokens."""
        ...

    def count(self, text: str) -> int:
        """Tokens of plain `text`, without special tokens."""
        ...

    def bound(self, text: str) -> int | None:
        """What `count` gives at the most, for a small part of its time; None where no such bound is known."""
        ...

    def count_messages(self, messages: Sequence[Mapping[str, Any]]) -> int:
        """Tokens of a chat as the model's template renders it, generation prompt included.

        Raises:
            InvalidInput: the template refuses these messages.
        """
        ...

    def bound_messages(self, messages: Sequence[Mapping[str, Any]]) -> int | None:
        """What `count_messages` gives at the most, for a small part of its time; None where no such bound is known.

        Raises:
            InvalidInput: as `count_messages`.
        """
        ...


class Meter(Protocol):
    """Energy of the hardware that the engine occupies."""

    @property
    def basis(self) -> EnergyBasis:
        """Whether joules come from a sensor or from a model of the machine."""
        ...

    def energy_j(self) -> float:
        """Cumulative joules since some fixed moment; never decreases."""
        ...


class IntensityProvider(Protocol):
    """A source of carbon intensity for grid zones."""

    @property
    def name(self) -> str: ...

    @property
    def basis(self) -> Basis:
        """The accounting basis of all its figures."""
        ...

    def fetch(self, zone: str, start: datetime, end: datetime) -> Sequence[IntensityPoint]:
        """The known hours in [start, end), ascending; hours that are not known are absent, never filled.

        Raises:
            IntensityUnavailable: the zone is unknown to this provider or the source does not answer.
        """
        ...

    def forecast(self, zone: str, now: datetime) -> Forecast | None:
        """Its newest forecast of the hours from the one that contains `now` on; None where it has none to give.

        Raises:
            IntensityUnavailable: the zone is unknown to this provider or the source does not answer.
        """
        ...


class Judge(Protocol):
    """Says which of several answers is best."""

    @property
    def name(self) -> str:
        """What kind of judge it is, as verdicts say."""
        ...

    @property
    def model(self) -> str:
        """Which one of its kind; empty where there is only one."""
        ...

    @property
    def kind(self) -> Kind:
        """What its verdicts are about."""
        ...

    @property
    def heeds_order(self) -> bool:
        """Whether the place of an answer could sway it, so that pairs are shown in both orders."""
        ...

    def judge(self, comparisons: Sequence[Comparison]) -> Generator[Sequence[Opinion], None, None]:
        """An opinion on each comparison exactly once, in groups, in any order; nothing for a while is an empty group.

        One that it fails at, refuses, or rambles about has a fault, and costs that one only. Closing the iterator ends
        what is still asked.

        Raises:
            JudgeUnavailable: it cannot be asked now; comparisons that were not yielded have no opinion yet.
        """
        ...


class Queue(StrEnum):
    """Celery's queues."""

    SCHEDULE = "schedule"
    GENERATE = "generate"
    EVALUATE = "evaluate"


class Task(StrEnum):
    """The tasks, by the names under which Celery knows them. Each takes one id, or nothing."""

    VALIDATE = "sprout.validate"
    """A batch id: check its input file and cut shards."""
    GENERATE = "sprout.generate"
    """A shard id: answer its requests."""
    FINALIZE = "sprout.finalize"
    """A batch id: write its output and error files."""
    REFRESH = "sprout.refresh"
    """Bring the carbon intensity of every zone, what was priced with it, and the forecasts up to date."""
    RECOMPUTE = "sprout.recompute"
    """Recompute the directive mixes."""
    DISCOVER = "sprout.discover"
    """Learn the classes of prompts anew, when it is time."""
    PLAN = "sprout.plan"
    """Lay the open batches out anew over the hours to come."""
    RECONCILE = "sprout.reconcile"
    """Find lost work and ring for it again."""
    CONSIDER = "sprout.consider_evaluation"
    """Decide whether a round of evaluation opens, and whether it is drained."""
    EVALUATE = "sprout.evaluate"
    """A round id: answer and judge its samples."""

    @property
    def queue(self) -> Queue:
        match self:
            case Task.GENERATE:
                return Queue.GENERATE
            case Task.EVALUATE:
                return Queue.EVALUATE
            case _:
                return Queue.SCHEDULE


class Dispatcher(Protocol):
    """The bell: wakes workers. Losing a message loses nothing, because PostgreSQL holds the work."""

    def send(self, task: Task, argument: str, *, place: str = "", model: str = "", urgent: bool = False) -> None:
        """Ask for `task(argument)` on the task's queue; on that of the workers in the zone `place` that serve `model`,
        as far as these are named.

        What is urgent is taken before all that is not, and otherwise in the order of asking.

        Raises:
            DispatchUnavailable: the broker cannot be reached.
        """
        ...

    def depth(self, queue: Queue, *, place: str = "", model: str = "") -> int:
        """Messages waiting in `queue`, or in that of the zone `place` and of `model`.

        Raises:
            DispatchUnavailable: the broker cannot be reached.
        """
        ...
