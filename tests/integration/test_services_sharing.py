"""Several workers on one batch: what each takes, and how the last shards end."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.domain.completion import EngineRequest
from app.ports import Task
from app.services import generation
from app.services.generation import Worker
from app.store.batches import Batch
from tests.support.engine import EchoEngine
from tests.support.factories import a_request, chat, store_batch
from tests.support.services import Desk, Desks
from tests.support.waiting import eventually

LINES = 64


@pytest.fixture(autouse=True)
def _brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "GROUP_S", 0.02)


@pytest.fixture
def desk(desks: Desks) -> Desk:
    """Its workers' engines run eight requests at once."""
    return desks.desk(engine_max_seqs=8)


@pytest.fixture
def engines() -> Iterator[Sequence[EchoEngine]]:
    built = [EchoEngine(slots=8) for _ in range(2)]
    yield built
    for engine in built:
        engine.close()


def a_batch(desk: Desk, ranges: Sequence[tuple[int, int]] = ((1, LINES),)) -> Batch:
    entries = [a_request(number, body=chat(f"Say {number:02}.")) for number in range(1, LINES + 1)]
    with desk.context.database.transaction() as connection:
        return store_batch(connection, lines=entries, ranges=ranges, total=LINES)


def run(desk: Desk, worker: Worker, shard: str) -> None:
    generation.run_shard(desk.context, worker, shard)


def answered_once(desk: Desk) -> bool:
    return desk.rows("SELECT line FROM results ORDER BY line") == list(range(1, LINES + 1))


def asked(engine: EchoEngine) -> list[int]:
    return [int(request.key.rpartition("/")[2]) for request in engine.requests]


class Gate:
    """Lets an engine answer its first `free` requests, and the others once it is opened."""

    def __init__(self, free: int) -> None:
        self.opened = threading.Event()
        self._left = free
        self._lock = threading.Lock()

    def __call__(self, _: EngineRequest) -> None:
        with self._lock:
            self._left -= 1
            may_pass = self._left >= 0
        if not may_pass and not self.opened.wait(20):
            self.opened.set()
            pytest.fail("the gate stays closed")


def test_one_worker_takes_what_it_can_hold_and_then_the_rest(desk: Desk, engines: Sequence[EchoEngine]) -> None:
    batch = a_batch(desk)
    run(desk, desk.worker(engines[0]), f"{batch.id}:1-{LINES}")
    assert answered_once(desk)
    assert len(engines[0].requests) == LINES
    first, *others = desk.rows("SELECT requests FROM shards ORDER BY first_line")
    assert first == 16, "as much again as runs at once"
    assert others
    assert sum(others) == LINES - 16
    assert desk.batch(batch.id).status == "finalizing"
    assert set(desk.rows("SELECT copy_of FROM shards")) == {None}


def test_the_bell_is_rung_for_what_a_worker_left(desk: Desk, engines: Sequence[EchoEngine]) -> None:
    batch, gate = a_batch(desk), Gate(0)
    engines[0].on_request = gate
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(run, desk, desk.worker(engines[0]), f"{batch.id}:1-{LINES}")
        eventually(lambda: desk.dispatcher.arguments(Task.GENERATE) == [f"{batch.id}:17-{LINES}"])
        gate.opened.set()
        slow.result()


def test_shards_shrink_while_others_work_too(desk: Desk, engines: Sequence[EchoEngine]) -> None:
    batch, gate = a_batch(desk, [(1, 4), (5, LINES)]), Gate(0)
    engines[0].on_request = gate
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(run, desk, desk.worker(engines[0], name="slow"), f"{batch.id}:1-4")
        eventually(lambda: engines[0].requests)
        fast = desk.worker(engines[1], name="fast")
        run(desk, fast, f"{batch.id}:5-{LINES}")
        gate.opened.set()
        slow.result()
    sizes = desk.rows("SELECT requests FROM shards WHERE copy_of IS NULL ORDER BY first_line")[1:]
    # A quarter of what is left, but as much as the engine has room for, and at last two: a quarter of its slots.
    assert sizes[0] == 15
    assert min(sizes) <= 2
    assert answered_once(desk)


def test_an_idle_worker_runs_the_shard_of_a_slow_one_from_behind(desk: Desk, engines: Sequence[EchoEngine]) -> None:
    """The slow one stands still; what it has not answered is answered by the other, and nothing waits for it."""
    batch, gate = a_batch(desk, [(1, 12), (13, LINES)]), Gate(3)
    engines[0].on_request = gate
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(run, desk, desk.worker(engines[0], name="slow"), f"{batch.id}:1-12")
        eventually(lambda: desk.rows("SELECT count(*) FROM results") == [3])
        run(desk, desk.worker(engines[1], name="fast"), f"{batch.id}:13-{LINES}")
        assert answered_once(desk)
        assert desk.batch(batch.id).status == "finalizing"
        gate.opened.set()
        slow.result()
    copied = [number for number in asked(engines[1]) if number <= 12]
    assert copied == list(range(12, 3, -1))
    assert answered_once(desk)
    assert desk.rows("SELECT sum(completed), sum(failed) FROM shards") == [(LINES, 0)]
    assert set(desk.rows("SELECT state FROM shards")) == {"done"}


def test_where_the_two_meet_the_shard_ends_and_its_copy_with_it(desk: Desk, engines: Sequence[EchoEngine]) -> None:
    """The copy stands still after four lines, and the first worker goes on until it meets them."""
    batch, slow_gate, copy_gate = a_batch(desk, [(1, 12), (13, LINES)]), Gate(3), Gate(LINES - 12 + 4)
    engines[0].on_request, engines[1].on_request = slow_gate, copy_gate
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(run, desk, desk.worker(engines[0], name="slow"), f"{batch.id}:1-12")
        eventually(lambda: desk.rows("SELECT count(*) FROM results") == [3])
        fast = pool.submit(run, desk, desk.worker(engines[1], name="fast"), f"{batch.id}:13-{LINES}")
        eventually(lambda: desk.rows("SELECT count(*) FROM results") == [LINES - 12 + 4 + 3])
        slow_gate.opened.set()
        slow.result()
        assert answered_once(desk)
        eventually(lambda: desk.batch(batch.id).status == "finalizing")
        copy_gate.opened.set()
        fast.result()
    assert desk.rows("SELECT sum(completed), sum(failed) FROM shards") == [(LINES, 0)]
    repeated = sum(Counter(asked(engines[0]) + asked(engines[1])).values()) - LINES
    assert repeated <= 12


def test_a_shard_that_was_given_back_ends_with_its_copy(desk: Desk, engines: Sequence[EchoEngine]) -> None:
    batch, gate, copy_gate = a_batch(desk, [(1, 12), (13, LINES)]), Gate(3), Gate(LINES - 12 + 4)
    engines[0].on_request, engines[1].on_request = gate, copy_gate
    slow_worker = desk.worker(engines[0], name="slow")
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(run, desk, slow_worker, f"{batch.id}:1-12")
        eventually(lambda: desk.rows("SELECT count(*) FROM results") == [3])
        fast = pool.submit(run, desk, desk.worker(engines[1], name="fast"), f"{batch.id}:13-{LINES}")
        eventually(lambda: desk.rows("SELECT count(*) FROM results") == [LINES - 12 + 4 + 3])
        slow_worker.stopping.set()
        eventually(lambda: desk.rows(f"SELECT state FROM shards WHERE id = '{batch.id}:1-12'") == ["pending"])
        copy_gate.opened.set()
        fast.result()
        assert answered_once(desk)
        eventually(lambda: desk.batch(batch.id).status == "finalizing")
        gate.opened.set()
        slow.result()


def test_a_worker_that_stops_copies_nothing(desk: Desk, engines: Sequence[EchoEngine]) -> None:
    batch, gate = a_batch(desk, [(1, 12), (13, 14)]), Gate(0)
    engines[0].on_request = gate
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(run, desk, desk.worker(engines[0], name="slow"), f"{batch.id}:1-12")
        eventually(lambda: engines[0].requests)
        fast = desk.worker(engines[1], name="fast")
        engines[1].on_request = lambda _: fast.stopping.set()
        run(desk, fast, f"{batch.id}:13-14")
        assert set(desk.rows("SELECT copy_of FROM shards")) == {None}
        gate.opened.set()
        slow.result()
