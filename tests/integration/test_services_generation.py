from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import count

import pytest

from app.domain.completion import Completion, EngineRequest
from app.domain.errors import EngineFailed, EngineUnavailable, ServiceUnavailable
from app.ports import Task
from app.services import batches, generation, reconciliation
from app.store.batches import Batch
from app.store.database import TENANT
from tests.support.clock import TickingClock
from tests.support.engine import EchoEngine
from tests.support.factories import a_request, chat, store_batch, store_mix
from tests.support.services import Desk, Desks, FailingDatabase
from tests.support.waiting import eventually

LINES = 20
AT = 8
"""In tests of what happens in the middle: the request at which it happens, when those before it are recorded."""


@pytest.fixture(autouse=True)
def _brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "GROUP_S", 0.02)


@pytest.fixture
def one_by_one() -> Iterator[EchoEngine]:
    """Requests run in line order, each after the one before it."""
    engine = EchoEngine(slots=1)
    yield engine
    engine.close()


def a_shard(desk: Desk, lines: int = LINES, **changes: object) -> tuple[Batch, str]:
    """A batch in progress with one shard, and the shard's id."""
    entries = [a_request(number, body=chat(f"Say {number}."), **changes) for number in range(1, lines + 1)]
    with desk.context.database.transaction() as connection:
        batch = store_batch(connection, lines=entries, ranges=[(1, lines)], total=lines)
    return batch, f"{batch.id}:1-{lines}"


def recorded(desk: Desk) -> int:
    return int(desk.rows("SELECT count(*) FROM results")[0])


def in_the_middle(desk: Desk, happen: Callable[[], object]) -> Callable[[EngineRequest], Completion | None]:
    numbers = count(1)

    def script(request: EngineRequest) -> None:
        if next(numbers) == AT:
            eventually(lambda: recorded(desk) == AT - 1)
            happen()

    return script


def the_shard(desk: Desk) -> tuple[str, int, int, int]:
    """State, losses, completed, failed."""
    (row,) = desk.rows("SELECT state, losses, completed, failed FROM shards")
    return row


def answers(desk: Desk) -> dict[str, str]:
    said = "responses.body->'choices'->0->'message'->>'content'"
    rows = desk.rows(f"SELECT custom_id, {said} FROM responses JOIN requests USING (batch_id, line)")
    assert len(rows) == len(dict(rows)), "a custom_id was answered twice"
    return dict(rows)


EXPECTED = {f"request-{number}": f"Say {number}." for number in range(1, LINES + 1)}


def test_a_shard_is_leased_answered_and_recorded(desk: Desk, engine: EchoEngine) -> None:
    batch, shard = a_shard(desk)
    generation.run_shard(desk.context, desk.worker(engine), shard)
    assert answers(desk) == EXPECTED
    assert the_shard(desk) == ("done", 0, LINES, 0)
    assert desk.rows("SELECT DISTINCT finished_at FROM results") == [desk.clock.now()]
    assert desk.rows("SELECT DISTINCT prompt_tokens, completion_tokens FROM results") == [(2, 2)]
    assert desk.batch(batch.id).status == "finalizing"
    assert desk.dispatcher.sent == [(Task.FINALIZE, batch.id)]


def test_a_refused_request_is_a_failed_one(desk: Desk, engine: EchoEngine) -> None:
    bodies = [chat("fine"), chat("[refuse] this"), chat("fine", temperature=-1)]
    with desk.context.database.transaction() as connection:
        entries = [a_request(number, body=body) for number, body in enumerate(bodies, 1)]
        batch = store_batch(connection, lines=entries, ranges=[(1, 3)])
    generation.run_shard(desk.context, desk.worker(engine), f"{batch.id}:1-3")
    assert desk.rows("SELECT status_code FROM results ORDER BY line") == [200, 400, 400]
    assert the_shard(desk) == ("done", 0, 1, 2)


@pytest.mark.parametrize("shard", ["batch_unknown:1-2", ""])
def test_an_unknown_shard_is_ignored(desk: Desk, engine: EchoEngine, shard: str) -> None:
    generation.run_shard(desk.context, desk.worker(engine), shard)
    assert engine.requests == []


def test_a_shard_that_was_run_is_not_run_again(desk: Desk, engine: EchoEngine) -> None:
    _, shard = a_shard(desk)
    worker = desk.worker(engine)
    generation.run_shard(desk.context, worker, shard)
    generation.run_shard(desk.context, worker, shard)
    assert len(engine.requests) == LINES


def test_many_workers_ring_for_one_shard(desk: Desk, engine: EchoEngine) -> None:
    _, shard = a_shard(desk)
    with ThreadPoolExecutor(8) as pool:
        runs = [
            pool.submit(generation.run_shard, desk.context, desk.worker(engine, name=f"w{number}"), shard)
            for number in range(8)
        ]
    assert [run.result() for run in runs] == [None] * 8
    assert answers(desk) == EXPECTED
    assert len(engine.requests) == LINES
    assert the_shard(desk) == ("done", 0, LINES, 0)


def test_a_worker_that_fell_behind_writes_nothing_more(
    desk: Desk, one_by_one: EchoEngine, engine: EchoEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease lapses in the middle, another worker finishes the shard, and then it goes on."""
    monkeypatch.setattr(generation, "GROUP_S", 60.0)
    _, shard = a_shard(desk)

    numbers = count(1)

    def overtaken(_: EngineRequest) -> None:
        if next(numbers) == AT:
            desk.clock.advance(seconds=desk.context.settings.lease_s)
            reconciliation.reconcile(desk.context)
            generation.run_shard(desk.context, desk.worker(engine, name="second"), shard)

    one_by_one.on_request = overtaken
    generation.run_shard(desk.context, desk.worker(one_by_one, name="first"), shard)
    assert answers(desk) == EXPECTED
    assert len(engine.requests) == LINES
    assert the_shard(desk) == ("done", 1, LINES, 0)


def test_nothing_is_written_without_the_lease(desk: Desk, one_by_one: EchoEngine) -> None:
    batch, shard = a_shard(desk)
    one_by_one.on_request = in_the_middle(desk, lambda: batches.cancel(desk.context, TENANT, batch.id))
    generation.run_shard(desk.context, desk.worker(one_by_one), shard)
    assert recorded(desk) == AT - 1
    assert the_shard(desk) == ("done", 0, AT - 1, 0)
    assert desk.batch(batch.id).status == "cancelling"


def test_a_worker_that_stops_gives_its_shard_back(desk: Desk, one_by_one: EchoEngine, engine: EchoEngine) -> None:
    _, shard = a_shard(desk)
    worker = desk.worker(one_by_one)

    def stop() -> None:
        worker.stopping.set()
        # Until it is given back: pending, which may have passed already, and later done by the other engine.
        eventually(lambda: the_shard(desk)[0] in ("pending", "done"))

    one_by_one.on_request = in_the_middle(desk, stop)
    generation.run_shard(desk.context, worker, shard)
    assert the_shard(desk) == ("pending", 0, AT - 1, 0)
    assert recorded(desk) == AT - 1
    reconciliation.reconcile(desk.context)
    assert desk.dispatcher.arguments(Task.GENERATE) == [shard]
    generation.run_shard(desk.context, desk.worker(engine), shard)
    assert len(engine.requests) == LINES - AT + 1
    assert answers(desk) == EXPECTED


def test_an_engine_out_of_reach_is_waited_for(desk: Desk, one_by_one: EchoEngine) -> None:
    _, shard = a_shard(desk)

    def out_of_reach() -> None:
        raise EngineUnavailable("The engine at http://far does not answer: start it.")

    one_by_one.on_request = in_the_middle(desk, out_of_reach)
    worker = desk.worker(one_by_one)
    generation.run_shard(desk.context, worker, shard)
    state, losses, kept, _ = the_shard(desk)
    assert (state, losses) == ("pending", 0)
    assert kept == recorded(desk) >= AT - 1
    reconciliation.reconcile(desk.context)
    generation.run_shard(desk.context, worker, shard)
    assert desk.dispatcher.arguments(Task.GENERATE) == []
    assert recorded(desk) == kept, "the engine was tried again at once"
    desk.clock.advance(seconds=generation.UNAVAILABLE_S)
    reconciliation.reconcile(desk.context)
    assert desk.dispatcher.arguments(Task.GENERATE) == [shard]
    generation.run_shard(desk.context, worker, shard)
    assert answers(desk) == EXPECTED
    assert the_shard(desk) == ("done", 0, LINES, 0)


def test_an_engine_that_dies_costs_the_shard_a_loss(desk: Desk, one_by_one: EchoEngine, engine: EchoEngine) -> None:
    _, shard = a_shard(desk)

    def die() -> None:
        raise EngineFailed("The engine is gone.")

    one_by_one.on_request = in_the_middle(desk, die)
    with pytest.raises(EngineFailed):
        generation.run_shard(desk.context, desk.worker(one_by_one), shard)
    reconciliation.reconcile(desk.context)
    state, losses, kept, _ = the_shard(desk)
    assert (state, losses) == ("pending", 1)
    assert kept == recorded(desk) >= AT - 1
    generation.run_shard(desk.context, desk.worker(engine), shard)
    assert answers(desk) == EXPECTED


def failing(desks: Desks) -> tuple[Desk, FailingDatabase]:
    database = FailingDatabase(desks.database)
    return Desks(database=database, clock=desks.clock, dispatcher=desks.dispatcher, home=desks.home).desk(), database


def test_results_wait_for_a_database_that_is_away(desks: Desks, desk: Desk, one_by_one: EchoEngine) -> None:
    frail, database = failing(desks)
    _, shard = a_shard(desk)
    one_by_one.on_request = in_the_middle(desk, lambda: setattr(database, "failures", 4))
    generation.run_shard(frail.context, frail.worker(one_by_one), shard)
    assert database.refused == 4
    assert answers(desk) == EXPECTED
    assert the_shard(desk) == ("done", 0, LINES, 0)
    assert len(one_by_one.requests) == LINES, "something was generated twice"


def test_results_survive_connections_that_are_cut(
    desk: Desk, one_by_one: EchoEngine, administer: Callable[[str], None]
) -> None:
    _, shard = a_shard(desk)
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'services'"
    one_by_one.on_request = in_the_middle(desk, lambda: administer(cut))
    generation.run_shard(desk.context, desk.worker(one_by_one), shard)
    assert answers(desk) == EXPECTED
    assert the_shard(desk) == ("done", 0, LINES, 0)


def test_a_connection_cut_inside_the_transaction_is_tried_again(
    desk: Desk, engine: EchoEngine, administer: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, shard = a_shard(desk)
    record, cuts = generation.results.record, [1, 1]

    def cut_first(connection: object, rows: object) -> object:
        if cuts:
            cuts.pop()
            administer("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'services'")
        return record(connection, rows)  # type: ignore[arg-type]

    monkeypatch.setattr(generation.results, "record", cut_first)
    generation.run_shard(desk.context, desk.worker(engine), shard)
    assert cuts == []
    assert answers(desk) == EXPECTED


def test_a_database_that_stays_away_is_given_up_when_the_lease_is(desks: Desks, engine: EchoEngine) -> None:
    desks.clock = TickingClock()
    desk = desks.desk(lease_s=0.1)
    frail, database = failing(desks)
    frail.context.__dict__["settings"] = desk.context.settings
    _, shard = a_shard(desk)
    engine.on_request = lambda _: setattr(database, "failures", 10**9)
    with pytest.raises(ServiceUnavailable):
        generation.run_shard(frail.context, frail.worker(engine), shard)
    assert the_shard(desk)[0] == "leased"
    desk.clock.advance(seconds=0.1)
    reconciliation.reconcile(desk.context)
    assert the_shard(desk) == ("pending", 1, 0, 0)


def test_a_lease_is_renewed_while_the_engine_is_silent(desks: Desks, engine: EchoEngine) -> None:
    desk = desks.desk(lease_s=4.0)
    _, shard = a_shard(desk, lines=1)
    release = threading.Event()
    engine.on_request = lambda _: release.wait(10) and None
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(generation.run_shard, desk.context, desk.worker(engine), shard)
        eventually(lambda: engine.requests)
        now = desk.clock.advance(seconds=desk.context.settings.lease_s - 1)
        lease = timedelta(seconds=desk.context.settings.lease_s)
        eventually(lambda: desk.rows("SELECT lease_expires_at FROM shards") == [now + lease])
        release.set()
        run.result()
    assert the_shard(desk) == ("done", 0, 1, 0)


def test_a_request_that_is_run_again_keeps_its_level(desk: Desk, one_by_one: EchoEngine) -> None:
    _, shard = a_shard(desk)
    with desk.context.database.transaction() as connection:
        store_mix(connection, probabilities=(0.4, 0.3, 0.3))
    one_by_one.on_request = in_the_middle(desk, lambda: (_ for _ in ()).throw(EngineUnavailable("It is away.")))
    worker = desk.worker(one_by_one)
    generation.run_shard(desk.context, worker, shard)
    desk.clock.advance(seconds=generation.UNAVAILABLE_S)
    generation.run_shard(desk.context, worker, shard)
    seen: dict[str, set[str]] = {}
    for request in one_by_one.requests:
        said, _, directive = request.body["messages"][-1]["content"].partition("\n\n")
        seen.setdefault(said, set()).add(directive)
    assert len(seen) == LINES
    assert all(len(directives) == 1 for directives in seen.values())
