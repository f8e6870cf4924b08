"""Measuring what a token costs on this machine, and finding what was measured."""

from __future__ import annotations

import platform
import random
import threading
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count, cycle

from sqlalchemy import Connection

from app.domain.attribution import Work
from app.domain.calibration import Costs, MeasuredWindow, fit, held_out_error, spread
from app.domain.completion import EngineRequest
from app.domain.errors import Conflict
from app.ports import EnergyBasis, Engine, Meter
from app.services.context import Context
from app.settings import Settings
from app.store import calibrations, windows
from app.store.calibrations import Calibration, Setup
from app.store.database import Database

WINDOW_S = 30.0
"""On a processor a step of the engine takes up to seconds, and the tokens of a prompt count when all of it is done: in
a short window, work and tokens do not match."""
LOOK_S = 0.02
LOOKS = 1500
"""Looks at the engine before it is taken to be stuck."""
FILLING_S = 5.0
"""At the start of a phase, until the batch is full of its requests; not measured."""
PHASE_S = FILLING_S + WINDOW_S
WAIT_S = 0.2
SEEN = timedelta(minutes=1)
"""A worker whose last window is younger is running."""
HELD_OUT = 3
"""Every third phase takes no part in the fit. There are four make-ups, so it is each one's turn."""
WANTED_ERROR = 0.1
"""Of held-out windows, median."""
WORDS = ("river", "stone", "paper", "green", "seven", "light", "house", "train", "music", "sugar", "cloud", "metal")


@dataclass(frozen=True, kw_only=True)
class MakeUp:
    """What the requests of a phase look like; lengths in tokens, roughly."""

    name: str
    prompt: int
    answer: int


IDLE = MakeUp(name="idle", prompt=0, answer=0)
MAKE_UPS = (
    IDLE,
    MakeUp(name="long prompts", prompt=400, answer=8),
    MakeUp(name="long answers", prompt=32, answer=128),
    MakeUp(name="both", prompt=160, answer=64),
)


LEAST_PHASES = 2 * len(MAKE_UPS)
"""With fewer, the costs could not be told apart without any one of the windows, as their spread asks."""


def phases_in(minutes: float) -> int:
    """How many phases fit, roughly."""
    return max(LEAST_PHASES, round(minutes * 60 / PHASE_S))


def setup(settings: Settings, basis: EnergyBasis) -> Setup:
    """What a calibration of this process's engine holds for."""
    return Setup(machine=platform.node(), model=settings.served_name, dtype=settings.engine_dtype, energy_basis=basis)


def known_costs(connection: Connection, settings: Settings, basis: EnergyBasis) -> Costs | None:
    """What tokens cost on this machine by its newest calibration; None without one, and for an engine elsewhere, which
    tells too late how far its requests are."""
    if settings.engine != "vllm":
        return None
    found = calibrations.newest(connection, setup(settings, basis))
    return found.costs if found else None


def refuse_company(database: Database, now: datetime) -> None:
    """Raises Conflict: a generation worker on this machine would disturb the measurement, or be disturbed."""
    with database.transaction() as connection:
        worker = windows.worked_on(connection, platform.node(), now - SEEN)
    if worker is not None:
        raise Conflict(
            f"The worker {worker} was at work on this machine within the last minute: stop it, and calibrate a minute "
            "later."
        )


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What is measured, under the concurrency of service."""

    context: Context
    engine: Engine
    meter: Meter
    window_s: float = WINDOW_S
    filling_s: float = FILLING_S
    _random: random.Random = field(default_factory=random.SystemRandom)
    _numbers: count[int] = field(default_factory=count)

    def measure(self, make_up: MakeUp) -> MeasuredWindow:
        """The window of a phase."""
        stop = threading.Event()
        callers = 0 if make_up is IDLE else self.context.settings.shards_in_flight
        with ThreadPoolExecutor(max(callers, 1)) as pool:
            running = [pool.submit(self._serve, make_up, stop) for _ in range(callers)]
            try:
                stop.wait(self.filling_s)
                measured = self._window(stop, idle=make_up is IDLE)
            finally:
                stop.set()
        for caller in running:
            caller.result()
        return measured

    def _serve(self, make_up: MakeUp, stop: threading.Event) -> None:
        """Shard after shard, as a worker does it."""
        settings = self.context.settings
        while not stop.is_set():
            requests = [self._request(make_up) for _ in range(settings.shard_size)]
            answers = self.engine.generate(requests, timeout_s=settings.request_timeout_s, wait_s=WAIT_S)
            with closing(answers) as groups:
                for _ in groups:
                    if stop.is_set():
                        return

    def _request(self, make_up: MakeUp) -> EngineRequest:
        """Prompt and answer of half to one and a half times the length. Each prompt has a beginning of its own, so that
        no prefix is cached."""
        words = self._random.choices(WORDS, k=round(make_up.prompt * self._random.uniform(0.5, 1.5)))
        body = {
            "model": self.context.settings.served_name,
            "prompt": " ".join((str(self._random.random()), *words)),
            "max_tokens": max(1, round(make_up.answer * self._random.uniform(0.5, 1.5))),
            "ignore_eos": True,
        }
        return EngineRequest(key=f"calibration/{next(self._numbers)}", endpoint="/v1/completions", body=body)

    def _window(self, stop: threading.Event, *, idle: bool) -> MeasuredWindow:
        clock = self.context.clock
        # Between two steps of the engine, so that the work of the window is that of the tokens that come in it.
        self._await_step(stop, idle=idle)
        started, before_j = clock.monotonic(), self.meter.energy_j()
        stop.wait(self.window_s)
        work = [*self.engine.drain_work().values(), *self._await_step(stop, idle=idle)]
        return MeasuredWindow(
            prefill_tokens=sum(done.prefill_tokens for done in work),
            decode_tokens=sum(done.decode_tokens for done in work),
            duration_s=clock.monotonic() - started,
            energy_j=self.meter.energy_j() - before_j,
        )

    def _await_step(self, stop: threading.Event, *, idle: bool) -> Collection[Work]:
        """What the engine did up to the end of its present step: until new tokens are there."""
        for _ in range(1 if idle else LOOKS):
            work = self.engine.drain_work().values()
            if any(done.prefill_tokens or done.decode_tokens for done in work):
                return work
            stop.wait(LOOK_S)
        return ()


def calibrate(bench: Bench, *, phases: int, report: Callable[[str], None]) -> Calibration:
    """Measure, fit two thirds of it, hold it against the rest, and store what came of it if that is good enough to go
    by. `report` gets a line a phase.

    Raises:
        CalibrationFailed: there is too little to fit.
        EngineFailed: the engine is gone.
    """
    fitted: list[MeasuredWindow] = []
    held_out: list[MeasuredWindow] = []
    for phase, make_up in zip(range(1, phases + 1), cycle(MAKE_UPS), strict=False):
        measured = bench.measure(make_up)
        (held_out if phase % HELD_OUT == 0 else fitted).append(measured)
        report(f"{phase} of {phases}, {make_up.name}: {_summary(measured)}")
    costs, context = fit(fitted), bench.context
    found = Calibration(
        setup=setup(context.settings, bench.meter.basis),
        costs=costs,
        spread=spread(fitted),
        error=held_out_error(costs, held_out),
        windows=len(fitted) + len(held_out),
        measured_at=context.clock.now(),
    )
    if is_good(found):
        with context.database.transaction() as connection:
            calibrations.add(connection, found)
    return found


def is_good(found: Calibration) -> bool:
    """Whether it foretells windows that it has not seen well enough to be kept."""
    return found.error.median <= WANTED_ERROR


def lines(found: Calibration) -> Iterator[str]:
    """A calibration in words."""
    costs, errors = found.costs, found.spread
    yield f"{found.setup.model} on {found.setup.machine}, {found.setup.energy_basis}, with standard errors:"
    yield f"  a token of a prompt   {1000 * costs.prefill_j:8.2f} ± {1000 * errors.prefill_j:.2f} mJ"
    yield f"  a token of an answer  {1000 * costs.decode_j:8.2f} ± {1000 * errors.decode_j:.2f} mJ"
    yield f"  in any case           {costs.idle_w:8.2f} ± {errors.idle_w:.2f} W"
    yield (
        f"The energy of windows that took no part in the fit is predicted to {found.error.median:.1%} (median) and "
        f"{found.error.worst:.1%} (worst), {found.windows} windows in all."
    )
    if not is_good(found):
        yield (
            f"That is more than {WANTED_ERROR:.0%}, so nothing is kept: see that nothing else runs on this machine, "
            "and measure for longer with --minutes."
        )


def _summary(measured: MeasuredWindow) -> str:
    power_w = measured.energy_j / measured.duration_s
    return f"{measured.prefill_tokens} tokens in, {measured.decode_tokens} out, {power_w:.1f} W"
