"""A calibration on an engine whose tokens have a known price."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from app.domain.completion import Completion, EngineRequest
from app.domain.errors import Conflict
from app.ports import EnergyBasis
from app.services import calibration
from app.services.calibration import LEAST_PHASES, PHASE_S, Bench, phases_in
from app.services.context import SystemClock
from tests.support.engine import EchoEngine
from tests.support.services import Desks

PREFILL_J, DECODE_J, IDLE_W = 0.01, 0.08, 40.0


class PricedEngine(EchoEngine):
    """Also the Meter port: what its tokens and the time that passes cost."""

    basis: EnergyBasis = "modelled"

    def __init__(self) -> None:
        self._clock = SystemClock()
        self._started = self._clock.monotonic()
        self._spent_j = 0.0
        super().__init__()

    async def answer(self, request: EngineRequest, timeout_s: float) -> Completion:
        found = await super().answer(request, timeout_s)
        self._spent_j += PREFILL_J * found.prompt_tokens + DECODE_J * found.completion_tokens
        return found

    def energy_j(self) -> float:
        return IDLE_W * (self._clock.monotonic() - self._started) + self._spent_j


@pytest.fixture
def priced() -> Iterator[PricedEngine]:
    with closing(PricedEngine()) as engine:
        yield engine


def test_the_costs_are_found_stored_and_told(desks: Desks, priced: PricedEngine) -> None:
    context = replace(desks.desk(shard_size=8).context, clock=SystemClock())
    bench = Bench(context=context, engine=priced, meter=priced, window_s=0.1, filling_s=0.02)
    told: list[str] = []
    found = calibration.calibrate(bench, phases=LEAST_PHASES, report=told.append)
    assert [line.partition(":")[0] for line in told[:3]] == [
        "1 of 8, idle",
        "2 of 8, long prompts",
        "3 of 8, long answers",
    ]
    assert found.costs.prefill_j == pytest.approx(PREFILL_J, rel=0.2)
    assert found.costs.decode_j == pytest.approx(DECODE_J, rel=0.2)
    assert found.error.median < 0.1
    assert found.windows == LEAST_PHASES
    assert found.setup.energy_basis == "modelled"
    with context.database.transaction() as connection:
        assert calibration.known_costs(connection, context.settings, "modelled") == found.costs
        assert calibration.known_costs(connection, context.settings, "measured") is None
    text = "\n".join(calibration.lines(found))
    assert f"{1000 * found.costs.decode_j:.2f}" in text
    assert "measure for longer" not in text


def test_costs_that_foretell_too_little_are_not_kept(
    desks: Desks, priced: PricedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "WANTED_ERROR", 0.0)
    context = replace(desks.desk(shard_size=8).context, clock=SystemClock())
    bench = Bench(context=context, engine=priced, meter=priced, window_s=0.1, filling_s=0.02)
    found = calibration.calibrate(bench, phases=LEAST_PHASES, report=lambda _: None)
    assert not calibration.is_good(found)
    assert "nothing is kept" in "\n".join(calibration.lines(found))
    with context.database.transaction() as connection:
        assert calibration.known_costs(connection, context.settings, "modelled") is None


def test_a_worker_on_this_machine_is_company(desks: Desks) -> None:
    desk = desks.desk()
    calibration.refuse_company(desk.context.database, desk.clock.now())
    desk.see(worker="generator@elsewhere")
    calibration.refuse_company(desk.context.database, desk.clock.now())
    machine = calibration.setup(desk.context.settings, "modelled").machine
    desk.see(worker=f"generator@{machine}")
    with pytest.raises(
        Conflict, match=f"generator@{machine} was at work on this machine within the last minute: stop it"
    ):
        calibration.refuse_company(desk.context.database, desk.clock.now())
    desk.clock.advance(seconds=120)
    calibration.refuse_company(desk.context.database, desk.clock.now())


def test_minutes_are_phases_and_never_too_few() -> None:
    assert phases_in(10 * PHASE_S / 60) == 10
    assert phases_in(0.1) == LEAST_PHASES
