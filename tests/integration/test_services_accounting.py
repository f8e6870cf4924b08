from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from app.domain.calibration import Costs, HeldOutError
from app.domain.completion import EngineRequest
from app.domain.footprint import Hardware
from app.domain.hardware import DEVICES
from app.domain.intensity import HOUR, IntensityPoint
from app.ports import Task
from app.services import calibration, generation
from app.services.accounting import WINDOW_S
from app.store import calibrations, intensity
from app.store.calibrations import Calibration
from tests.support.clock import NOON, TickingClock
from tests.support.engine import EchoEngine
from tests.support.factories import line
from tests.support.openai_server import HANG
from tests.support.services import Desk, Desks, FailingDatabase, ScriptedMeter, jsonl


def point(desk: Desk, start: datetime, grams: float) -> None:
    settings = desk.context.settings
    entry = IntensityPoint(
        zone=settings.zone, start=start, intensity_g_per_kwh=grams, basis=settings.basis, provider="test"
    )
    with desk.context.database.transaction() as connection:
        intensity.put(connection, [entry], NOON)


def total(desk: Desk, query: str) -> float:
    return float(desk.rows(query)[0])


@pytest.mark.parametrize("costs", [None, Costs(prefill_j=0.2, decode_j=3.0, idle_w=30.0)], ids=["time", "tokens"])
def test_results_and_idleness_add_up_to_the_meter(desks: Desks, engine: EchoEngine, costs: Costs | None) -> None:
    """Four shards at once with a request each that is aborted, a worker that idles before and after, windows in
    between."""
    desks.clock = TickingClock()
    desk = desks.desk(shard_size=25, request_timeout_s=0.3)
    if costs is not None:
        know(desk, costs)
    texts = [HANG if number % 25 == 9 else "word " * (number % 7 + 1) for number in range(100)]
    desk.validated(jsonl(line(f"r{number}", text=text) for number, text in enumerate(texts)))
    meter = ScriptedMeter(step_j=3.7)
    worker = desk.worker(engine, meter)
    first, started = meter.total_j, desk.clock.moment
    worker.accountant.settle()
    with ThreadPoolExecutor(4) as pool:
        shards = desk.dispatcher.arguments(Task.GENERATE)
        list(pool.map(lambda shard: generation.run_shard(desk.context, worker, shard), shards))
    desk.clock.advance(seconds=60)
    worker.accountant.settle(store=True)
    spent, idle, device_s, idle_s = desk.rows(
        "SELECT sum(energy_j), sum(idle_energy_j), sum(device_s), sum(idle_device_s) FROM windows"
    )[0]
    assert spent == pytest.approx(meter.total_j - first, rel=1e-9)
    assert total(desk, "SELECT sum(energy_j) FROM results") + idle == pytest.approx(spent, rel=1e-6)
    assert total(desk, "SELECT sum(device_s) FROM results") + idle_s == pytest.approx(device_s, rel=1e-6)
    assert idle_s >= 60
    assert 0 < idle < spent
    assert device_s == pytest.approx((desk.clock.moment - started).total_seconds(), abs=0.1)
    # One that was stopped has no tokens here: a share by them, beside others that have some, is nothing.
    assert total(desk, "SELECT min(energy_j) FROM results WHERE status_code = 200") > 0


def test_what_was_idle_before_a_shard_is_not_charged_to_it(desk: Desk, engine: EchoEngine) -> None:
    desk.validated(jsonl([line()]))
    meter = ScriptedMeter(step_j=1)
    worker = desk.worker(engine, meter)
    meter.total_j += 5000
    desk.work(worker)
    assert total(desk, "SELECT sum(energy_j) FROM results") < 100
    assert total(desk, "SELECT sum(idle_energy_j) FROM windows") > 5000


def test_windows_follow_each_other_without_gaps(desk: Desk, engine: EchoEngine) -> None:
    worker = desk.worker(engine)
    for _ in range(5):
        desk.clock.advance(seconds=WINDOW_S / 2)
        worker.accountant.settle()
    worker.accountant.settle(store=True)
    times = desk.rows("SELECT started_at, ended_at FROM windows ORDER BY started_at")
    assert times[0][0] == NOON
    assert times[-1][1] == desk.clock.now()
    assert [end for _, end in times[:-1]] == [start for start, _ in times[1:]]
    assert len(times) == 3
    assert total(desk, "SELECT sum(energy_j) FROM windows") == 60
    assert total(desk, "SELECT sum(idle_energy_j) FROM windows") == 60


def test_a_window_waits_for_a_database_that_is_away(desks: Desks, engine: EchoEngine) -> None:
    database = FailingDatabase(desks.database)
    frail = Desks(database=database, clock=desks.clock, dispatcher=desks.dispatcher, home=desks.home).desk()
    worker = frail.worker(engine)
    database.failures = 2
    for _ in range(2):
        desks.clock.advance(seconds=WINDOW_S)
        worker.accountant.settle()
    assert frail.rows("SELECT count(*) FROM windows") == [0]
    desks.clock.advance(seconds=WINDOW_S)
    worker.accountant.settle()
    assert frail.rows("SELECT started_at, ended_at, energy_j FROM windows") == [(NOON, desks.clock.now(), 30.0)]


def test_a_meter_that_falls_back_never_gives_energy(desk: Desk, engine: EchoEngine) -> None:
    meter = ScriptedMeter(step_j=10)
    worker = desk.worker(engine, meter)
    meter.step_j = -5
    worker.accountant.settle()
    meter.step_j = 10
    worker.accountant.settle(store=True)
    assert total(desk, "SELECT sum(energy_j) FROM windows") == 10


def test_a_clock_that_is_set_back_loses_no_energy(desk: Desk, engine: EchoEngine) -> None:
    worker = desk.worker(engine)
    desk.clock.advance(seconds=-3600)
    worker.accountant.settle(store=True)
    desk.clock.advance(seconds=WINDOW_S)
    worker.accountant.settle(store=True)
    assert total(desk, "SELECT sum(energy_j) FROM windows") == 20


@pytest.mark.parametrize(
    ("points", "grams", "origin"),
    [
        ([], 480.0, "static"),
        ([(0, 300.0)], 300.0, "measured"),
        ([(-2, 250.0)], 250.0, "last good"),
        ([(-1, 250.0), (0, 300.0), (1, 900.0)], 300.0, "measured"),
        ([(-5, 200.0), (-4, 300.0)], 250.0, "zone mean"),
    ],
)
def test_results_and_windows_are_priced_with_their_hour(
    desks: Desks, engine: EchoEngine, points: list[tuple[int, float]], grams: float, origin: str
) -> None:
    desks.clock = TickingClock()
    desk = desks.desk(pue=1.5, embodied_g=7000.0, lifetime_s=1e6)
    for hours, figure in points:
        point(desk, NOON + hours * HOUR, figure)
    desk.validated(jsonl([line()]))
    worker = desk.worker(engine)
    desk.work(worker)
    ((energy_j, device_s, operational_g, embodied_g, at),) = desk.rows(
        "SELECT energy_j, device_s, operational_g, embodied_g, intensity_g_per_kwh FROM results"
    )
    priced = [(grams, "lifecycle-average", origin)]
    assert at == grams
    assert desk.rows("SELECT intensity_g_per_kwh, intensity_basis, intensity_origin FROM results") == priced
    assert desk.rows("SELECT pue FROM results") == [1.5]
    assert operational_g == pytest.approx(energy_j / 3.6e6 * 1.5 * grams)
    assert embodied_g == pytest.approx(device_s * 0.007)
    assert min(energy_j, device_s) > 0
    assert desk.rows("SELECT DISTINCT intensity_g_per_kwh, intensity_basis, intensity_origin FROM windows") == priced


def test_a_worker_prices_with_its_own_zone(desks: Desks, engine: EchoEngine) -> None:
    desks.clock = TickingClock()
    desk = desks.desk(zone="FR", zones=("FR", "DE"))
    point(desk, NOON, 50.0)
    point(desks.desk(zone="DE"), NOON, 400.0)
    desk.validated(jsonl([line()]))
    worker = desk.worker(engine)
    desk.work(worker)
    worker.accountant.settle(store=True)
    for table in ("results", "windows"):
        assert desk.rows(f"SELECT DISTINCT zone, intensity_g_per_kwh FROM {table}") == [("FR", 50.0)]


def test_known_costs_decide_who_pays_and_newer_ones_are_found(desks: Desks) -> None:
    """A long prompt beside a long answer: the echo's answer has the words of the prompt up to max_tokens."""
    desk = desks.desk(engine="vllm")
    with closing(EchoEngine()) as engine:
        worker = desk.worker(engine, ScriptedMeter(step_j=300))

        def shares() -> list[float]:
            worker.accountant.settle(store=True)
            worker.accountant.follow(["short", "long"])
            asked = [
                EngineRequest(key=key, endpoint="/v1/completions", body={"prompt": "w " * 50, "max_tokens": tokens})
                for key, tokens in (("short", 10), ("long", 40))
            ]
            list(engine.generate(asked, timeout_s=5, wait_s=5))
            worker.accountant.settle(store=True)
            return [worker.accountant.charge(key).energy_j for key in ("short", "long")]

        assert sum(shares()) == pytest.approx(300)
        know(desk, Costs(prefill_j=0.0, decode_j=2.0, idle_w=5.0))
        assert shares() == pytest.approx([60, 240])
        desk.clock.advance(seconds=60)
        know(desk, Costs(prefill_j=3.0, decode_j=0.0, idle_w=5.0))
        assert shares() == pytest.approx([150, 150])


def test_an_engine_elsewhere_is_charged_by_time(desks: Desks) -> None:
    desk = desks.desk(engine="openai", engine_url="http://h/v1")
    know(desk, Costs(prefill_j=1.0, decode_j=2.0, idle_w=5.0))
    with desk.context.database.transaction() as connection:
        assert calibration.known_costs(connection, desk.context.settings, "modelled") is None


def know(desk: Desk, costs: Costs) -> None:
    """The machine was calibrated."""
    found = Calibration(
        setup=calibration.setup(desk.context.settings, "modelled"),
        costs=costs,
        spread=costs,
        error=HeldOutError(median=0.05, worst=0.2),
        windows=9,
        measured_at=desk.clock.now(),
    )
    with desk.context.database.transaction() as connection:
        calibrations.add(connection, found)
        assert calibrations.newest(connection, found.setup) == found
        assert calibrations.newest(connection, replace(found.setup, machine="another")) is None


def test_the_hardware_is_that_of_the_settings(desks: Desks) -> None:
    found = desks.desk(pue=1.2, embodied_g=5.0, lifetime_s=9.0).context.hardware
    assert found == Hardware(pue=1.2, embodied_g=5.0, lifetime_s=9.0)


def test_single_figures_of_the_hardware_can_be_stated(desks: Desks) -> None:
    h100 = DEVICES["h100"]
    assert desks.desk(hardware="h100", idle_w=70.0).context.device == replace(h100, idle_w=70.0)
    assert desks.desk(hardware="h100", embodied_g=0.0).context.hardware.embodied_g_per_device_s == 0
    assert desks.desk().context.device == DEVICES["cpu-server"]


def test_a_result_is_priced_by_the_hour_in_which_it_ended(desk: Desk, engine: EchoEngine) -> None:
    point(desk, NOON, 100.0)
    point(desk, NOON + HOUR, 700.0)
    desk.validated(jsonl([line()]))
    desk.clock.advance(timedelta(minutes=61))
    desk.work(desk.worker(engine))
    assert desk.rows("SELECT intensity_g_per_kwh, finished_at FROM results") == [(700.0, desk.clock.now())]
