"""Everything between API and engine on a real database, with the clock, the bell and the meter in a test's hands."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic_settings import BaseSettings, PydanticBaseSettingsSource
from sqlalchemy import Connection, text

from app.domain.errors import ServiceUnavailable
from app.domain.intensity import HOUR, Forecast, IntensityPoint
from app.domain.units import hour_of
from app.ports import EnergyBasis, Engine, Meter, Task
from app.services import batches, files, finalization, generation, validation
from app.services.accounting import Accountant
from app.services.context import Context
from app.services.files import Described
from app.services.generation import Worker
from app.services.pace import Pace
from app.settings import Settings
from app.store import batches as stored_batches
from app.store import forecasts as stored_forecasts
from app.store import intensity as stored_intensity
from app.store import profiles, windows
from app.store.batches import Batch
from app.store.blobs import FolderStore
from app.store.database import TENANT, Database
from app.store.files import File
from tests.support.clock import FakeClock
from tests.support.dispatcher import RecordingDispatcher
from tests.support.factories import ENDPOINT, MODEL, a_profile, a_window
from tests.support.tokenizer import WordTokenizer


def some_settings(home: Path, **changes: Any) -> Settings:
    """Settings that the environment has no part in; the model is the factories' one."""
    return _Stated(**{"home": home, "model_name": MODEL, **changes})


class _Stated(Settings):
    """Made ten times as fast without a look at the environment."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        **_: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


class ScriptedMeter:
    """The Meter port: every reading finds `step_j` joules more than the one before."""

    basis: EnergyBasis = "modelled"

    def __init__(self, step_j: float = 10.0) -> None:
        self.step_j = step_j
        self.total_j = 0.0

    def energy_j(self) -> float:
        self.total_j += self.step_j
        return self.total_j


class FailingDatabase:
    """A Database that cannot be reached for the next `failures` transactions."""

    def __init__(self, database: Database) -> None:
        self.failures = 0
        self.refused = 0
        self._database = database

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        if self.failures:
            self.failures -= 1
            self.refused += 1
            raise ServiceUnavailable("PostgreSQL does not answer: it is away.")
        with self._database.transaction() as connection:
            yield connection


def jsonl(lines: Iterable[Mapping[str, Any]]) -> bytes:
    """An input file."""
    return b"".join(json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in lines)


@dataclass(kw_only=True)
class Desk:
    """The services as API and tasks call them, one verb each."""

    context: Context
    clock: FakeClock
    dispatcher: RecordingDispatcher
    engines: list[Engine] = field(default_factory=list)
    """Those of its workers."""

    def upload(self, content: bytes) -> File:
        return files.upload(self.context, TENANT, chunks=[content], describe=lambda: Described("in.jsonl", "batch"))

    def submit(
        self,
        content: bytes,
        *,
        endpoint: str = ENDPOINT,
        metadata: Mapping[str, str] | None = None,
        completion_window: str = "24h",
    ) -> str:
        """The id of a batch over `content` that waits for validation."""
        batch = batches.create(
            self.context,
            TENANT,
            input_file_id=self.upload(content).id,
            endpoint=endpoint,
            completion_window=completion_window,
            metadata=metadata,
        )
        return batch.id

    def validated(self, content: bytes, **options: Any) -> Batch:
        """The batch over `content` after its validation."""
        batch_id = self.submit(content, **options)
        validation.validate(self.context, batch_id)
        return self.batch(batch_id)

    def batch(self, batch_id: str) -> Batch:
        with self.context.database.transaction() as connection:
            return stored_batches.get(connection, TENANT, batch_id)

    def worker(self, engine: Engine, meter: Meter | None = None, name: str = "worker-1") -> Worker:
        self.engines.append(engine)
        accountant = Accountant(self.context, engine, meter or ScriptedMeter(), worker=name)
        settings = self.context.settings
        pace = Pace(slots=settings.engine_max_seqs, largest=settings.shard_size, lease_s=settings.lease_s)
        return Worker(name=name, engine=engine, accountant=accountant, pace=pace)

    def run_beside_others(self, worker: Worker, shard: str) -> None:
        """Run one shard on a worker that has others to run, so that it does not look for more."""
        with worker.pace.hold(worker.stopping) as others:
            others.took(worker.pace.slots)
            generation.run_shard(self.context, worker, shard)

    def work(self, worker: Worker) -> None:
        """Do what the bell rang for, and what that rings for, until it is silent."""
        while messages := self.dispatcher.take_all():
            for task, argument in messages:
                match task:
                    case Task.VALIDATE:
                        validation.validate(self.context, argument)
                    case Task.GENERATE:
                        generation.run_shard(self.context, worker, argument)
                    case Task.FINALIZE:
                        finalization.finalize(self.context, argument)

    def measure(self, **changes: Any) -> None:
        """Requests were measured: see `a_profile`."""
        with self.context.database.transaction() as connection:
            profiles.put(connection, TENANT, MODEL, [a_profile(**changes)], self.clock.now())

    def see(self, **changes: Any) -> None:
        """A worker is there by now: see `a_window`."""
        with self.context.database.transaction() as connection:
            windows.add(connection, a_window(**{"ended_at": self.clock.now(), **changes}))

    def expect(self, grams: Sequence[float], *, zone: str = "WORLD") -> None:
        """The figure of the present hour is known, and those of the following ones are forecast."""
        settings, now = self.context.settings, self.clock.now()
        hour = hour_of(now)
        known = {"zone": zone, "basis": settings.basis, "provider": "test"}
        with self.context.database.transaction() as connection:
            point = IntensityPoint(**known, start=hour, intensity_g_per_kwh=grams[0])
            stored_intensity.put(connection, [point], now)
            if ahead := grams[1:]:
                issued = Forecast(**known, issued_at=now, start=hour + HOUR, intensity_g_per_kwh=ahead)
                stored_forecasts.put(connection, issued)

    def rows(self, query: str, **values: Any) -> Sequence[Any]:
        """What the database holds, as tuples; as plain values where the query has one column."""
        with self.context.database.transaction() as connection:
            found = connection.execute(text(query), values)
            return list(found.scalars()) if len(found.keys()) == 1 else [tuple(row) for row in found]

    def lines(self, file_id: str | None) -> Sequence[dict[str, Any]]:
        """The lines of an output or error file."""
        return [json.loads(line) for line in self.content(file_id).splitlines()]

    def content(self, file_id: str | None) -> bytes:
        """Of a file, as the file store has it."""
        assert file_id is not None, "there is no such file"
        with self.context.files.open(file_id) as file:
            return file.read()

    def stored_files(self) -> set[str]:
        """Names of everything in the file store's folder, unfinished files included."""
        return {path.name for path in (self.context.settings.home / "files").iterdir()}


@dataclass(kw_only=True)
class Desks:
    """Builds desks on the test's database, each with settings of its own."""

    database: Database
    clock: FakeClock
    dispatcher: RecordingDispatcher
    home: Path
    tokenizer: WordTokenizer | None = field(default_factory=WordTokenizer)
    engines: list[Engine] = field(default_factory=list)

    def desk(self, **settings: Any) -> Desk:
        context = Context(
            settings=some_settings(self.home, **settings),
            database=self.database,
            files=FolderStore(self.home / "files"),
            dispatcher=self.dispatcher,
            clock=self.clock,
            tokenizer=lambda: self.tokenizer,
        )
        return Desk(context=context, clock=self.clock, dispatcher=self.dispatcher, engines=self.engines)
