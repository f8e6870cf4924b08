"""Identical deterministic requests of a tenant are answered once, where a batch asks for it, and counted honestly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from app.domain.directive import Placement
from app.domain.errors import InvalidInput
from app.services import (
    batches,
    erasure,
    files,
    reporting,
    retention,
)
from app.services.files import Described
from app.services.generation import Worker
from app.store import batches as stored_batches
from app.store import deployments, ledger, profiles, requests, savings
from app.store.batches import Batch
from app.store.candidates import Candidates, traffic
from app.store.database import TENANT
from app.store.deployments import Deployment
from tests.support.engine import EchoEngine
from tests.support.factories import ENDPOINT, MODEL, line
from tests.support.services import Desk, Desks, jsonl

CACHE = {"sprout_cache": "on"}


def lines_of(number: int, **parameters: Any) -> list[dict[str, Any]]:
    return [line(f"r-{n}", text=f"Tell me of {n}", **{"temperature": 0, **parameters}) for n in range(number)]


def run(
    desk: Desk,
    worker: Worker,
    lines: list[dict[str, Any]],
    *,
    tenant: str = TENANT,
    metadata: Mapping[str, str] | None = CACHE,
) -> Batch:
    file = files.upload(desk.context, tenant, chunks=[jsonl(lines)], describe=lambda: Described("in.jsonl", "batch"))
    batch = batches.create(
        desk.context,
        tenant,
        input_file_id=file.id,
        endpoint=ENDPOINT,
        completion_window="24h",
        metadata=metadata,
    )
    desk.work(worker)
    with desk.context.database.transaction() as connection:
        return stored_batches.get(connection, tenant, batch.id)


def test_a_known_answer_is_given_again_and_uses_nothing(desk: Desk) -> None:
    engine = EchoEngine()
    worker = desk.worker(engine)
    first = run(desk, worker, lines_of(3))
    asked = len(engine.requests)
    # Another line, what no model sees, and another order of lines do not matter.
    again = [*lines_of(3, metadata={"note": "x"}, user="u")[::-1], line("new", text="Something new", temperature=0)]
    second = run(desk, worker, again)
    assert (asked, len(engine.requests)) == (3, 4)
    answers = {one["custom_id"]: one for one in desk.lines(first.output_file_id)}
    repeated = {one["custom_id"]: one for one in desk.lines(second.output_file_id)}
    assert [one["sprout"]["cached"] for one in answers.values()] == [False] * 3
    for name, one in answers.items():
        other = repeated[name]
        assert other["response"]["body"] == one["response"]["body"]
        said, then = other["sprout"], one["sprout"]
        assert then["energy_j"] > 0
        used = (said["cached"], said["energy_j"], said["device_s"], said["footprint_g"], said["completion_tokens"])
        assert used == (True, 0.0, 0.0, 0.0, then["completion_tokens"])
    assert not repeated["new"]["sprout"]["cached"]
    assert (second.completed, second.failed) == (4, 0)
    levels = reporting.report(desk.context, TENANT, second.id).levels
    assert [(level.requests, level.cached) for level in levels] == [(4, 3)]
    # A batch all of whose lines are known needs no engine.
    assert run(desk, worker, lines_of(3)).completed == 3
    assert len(engine.requests) == 4


@pytest.mark.parametrize(
    ("second", "metadata"),
    [
        ({"temperature": 1}, CACHE),
        ({"n": 2}, CACHE),
        ({"max_tokens": 3}, CACHE),
        ({"metadata": {"sprout_level": "L1"}}, CACHE),
        ({}, None),
        ({}, {"sprout_cache": "off"}),
    ],
)
def test_what_is_not_the_same_or_not_asked_for_runs(
    desk: Desk, second: dict[str, Any], metadata: Mapping[str, str] | None
) -> None:
    engine = EchoEngine()
    worker = desk.worker(engine)
    run(desk, worker, lines_of(2))
    batch = run(desk, worker, lines_of(2, **second), metadata=metadata)
    assert len(engine.requests) == 4
    assert not any(one["sprout"]["cached"] for one in desk.lines(batch.output_file_id))


def test_a_batch_that_does_not_ask_leaves_nothing(desk: Desk) -> None:
    worker = desk.worker(EchoEngine())
    run(desk, worker, lines_of(2), metadata=None)
    run(desk, worker, lines_of(1, temperature=1))
    assert desk.rows("SELECT count(*) FROM cached_answers") == [0]
    with pytest.raises(InvalidInput, match="identical deterministic requests"):
        run(desk, worker, lines_of(1), metadata={"sprout_cache": "yes"})


def test_tenants_never_share(desk: Desk) -> None:
    engine = EchoEngine()
    worker = desk.worker(engine)
    run(desk, worker, lines_of(2))
    theirs = run(desk, worker, lines_of(2), tenant="other")
    assert len(engine.requests) == 4
    assert not any(one["sprout"]["cached"] for one in desk.lines(theirs.output_file_id))
    # Even if two tenants had the same key, each would be given its own answer.
    desk.rows("UPDATE cached_answers SET tenant_id = 'other' WHERE tenant_id = 'default' RETURNING 1")
    desk.rows("DELETE FROM batches WHERE tenant_id = 'other' RETURNING 1")
    run(desk, worker, lines_of(2), tenant="other")
    assert len(engine.requests) == 6


def test_another_model_answers_anew(desk: Desk) -> None:
    engine = EchoEngine()
    worker = desk.worker(engine)
    run(desk, worker, lines_of(2))
    with desk.context.database.transaction() as connection:
        found = Deployment(identity="other weights", placement=Placement.USER)
        assert deployments.put(connection, MODEL, found, desk.clock.now())
    run(desk, worker, lines_of(2))
    assert len(engine.requests) == 4


def test_what_a_known_answer_rests_on_ends_with_it(desks: Desks) -> None:
    """With the batch that was answered, with its answers' retention, and with the cache's own."""
    desk = desks.desk(keep_cache_s=7200.0)
    engine = EchoEngine()
    worker = desk.worker(engine)
    first = run(desk, worker, lines_of(2))
    erasure.erase_batch(desk.context, TENANT, first.id)
    assert desk.rows("SELECT count(*) FROM cached_answers") == [0]
    run(desk, worker, lines_of(2))
    assert len(engine.requests) == 4
    desk.clock.advance(hours=3)
    retention.forget(desk.context)
    run(desk, worker, lines_of(2))
    assert len(engine.requests) == 6
    desk.clock.advance(hours=1, seconds=1)
    retention.forget(desks.desk(keep_answers_s=3600.0).context)
    assert desk.rows("SELECT count(*) FROM cached_answers") == [0]
    run(desk, worker, lines_of(2))
    assert len(engine.requests) == 8


def test_nothing_is_learned_from_known_answers(desk: Desk) -> None:
    worker = desk.worker(EchoEngine())
    desk.expect([400.0])
    run(desk, worker, lines_of(3))
    now = desk.clock.now()

    def learned() -> Any:
        with desk.context.database.transaction() as connection:
            among = Candidates(tenant=TENANT, model=MODEL, since=now, not_asked_since=now)
            return (
                profiles.measured(connection, TENANT, MODEL, now=now, half_life_s=1e6),
                savings.saved(connection, TENANT, MODEL, now),
                ledger.recent_use(connection, TENANT, MODEL, 100),
                requests.count_answered(connection, TENANT, MODEL, 100),
                len(list(requests.recently_answered(connection, TENANT, MODEL, 100))),
                traffic(connection, among),
            )

    before = learned()
    batch = run(desk, worker, lines_of(3))
    assert desk.rows("SELECT count(*) FROM results WHERE cached AND mix_id IS NOT NULL") == [3]
    assert learned() == before
    # It cost nothing, and L0 would have cost nothing: directives saved nothing here.
    (estimate,) = reporting.report(desk.context, TENANT, batch.id).l0
    assert (estimate.requests, estimate.energy_j, estimate.footprint_g) == (0, 0.0, 0.0)
    with desk.context.database.transaction() as connection:
        weighed = ledger.l0_sums(connection, batch.id, "default")
    assert [sums.requests for sums in weighed] == [0, 0]


def test_two_alike_in_one_shard_both_run(desk: Desk) -> None:
    engine = EchoEngine()
    twice = [line(name, text="The same", temperature=0) for name in ("a", "b")]
    batch = run(desk, desk.worker(engine), twice)
    assert (len(engine.requests), batch.completed) == (2, 2)
    assert desk.rows("SELECT count(*) FROM cached_answers") == [1]
