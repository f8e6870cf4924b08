from __future__ import annotations

import pytest

from app.domain.directive import Placement, draw_level
from app.services import generation
from app.services.deployment import fingerprints
from app.store.batches import Batch
from app.store.mixes import DirectiveMix
from tests.support.engine import EchoEngine
from tests.support.factories import MODEL, a_request, chat, store_batch, store_mix
from tests.support.services import Desk, Desks


def a_shard(desk: Desk, lines: int, **changes: object) -> tuple[Batch, str]:
    """A batch in progress with one shard, and the shard's id."""
    entries = [a_request(number, body=chat(f"Say {number}."), **changes) for number in range(1, lines + 1)]
    with desk.context.database.transaction() as connection:
        batch = store_batch(connection, lines=entries, ranges=[(1, lines)], total=lines)
    return batch, f"{batch.id}:1-{lines}"


def with_mix(desk: Desk, *probabilities: float) -> DirectiveMix:
    with desk.context.database.transaction() as connection:
        present = fingerprints(connection, desk.context.settings, MODEL)
        return store_mix(connection, probabilities=probabilities, fingerprint=present("default"))


L1, L2 = "Always answer briefly", "Always answer very briefly"


@pytest.mark.parametrize(
    ("settings", "roles", "ending"),
    [
        ({}, ["user"], f"Say 1.\n\n{L2}"),
        ({"placement": Placement.USER}, ["user"], f"Say 1.\n\n{L2}"),
        ({"placement": Placement.SYSTEM}, ["system", "user"], "Say 1."),
        ({"model": "/models/other"}, ["system", "user"], "Say 1."),
        ({"workload_directives": {"default": ["", "short", "shorter"]}}, ["user"], "Say 1.\n\nshorter"),
        ({"workload_directives": {"mail": ["", "short", "shorter"]}}, ["user"], f"Say 1.\n\n{L2}"),
    ],
)
def test_the_directive_arrives_where_the_model_obeys_it(
    desks: Desks, engine: EchoEngine, settings: dict[str, object], roles: list[str], ending: str
) -> None:
    desk = desks.desk(**settings)
    _, shard = a_shard(desk, lines=1)
    with_mix(desk, 0.0, 0.0, 1.0)
    generation.run_shard(desk.context, desk.worker(engine), shard)
    (request,) = engine.requests
    messages = request.body["messages"]
    assert [message["role"] for message in messages] == roles
    assert messages[-1]["content"] == ending
    if "system" in roles:
        assert messages[0]["content"] == L2
    assert desk.rows("SELECT body FROM requests") == [chat("Say 1.")]


def test_strata_have_the_directives_of_their_workload(desks: Desks, engine: EchoEngine) -> None:
    desk = desks.desk(workload_directives={"mail": ["", "short", "shorter"]})
    _, shard = a_shard(desk, lines=1, workload="mail~2", pinned_level=2)
    generation.run_shard(desk.context, desk.worker(engine), shard)
    (request,) = engine.requests
    assert request.body["messages"][-1]["content"] == "Say 1.\n\nshorter"


def test_pinned_lines_have_their_level_and_no_probability(desk: Desk, engine: EchoEngine) -> None:
    _, shard = a_shard(desk, lines=3, pinned_level=1)
    with_mix(desk, 0.0, 0.0, 1.0)
    generation.run_shard(desk.context, desk.worker(engine), shard)
    assert {request.body["messages"][-1]["content"].split("\n\n")[1] for request in engine.requests} == {L1}
    assert desk.rows("SELECT DISTINCT level, probability, mix_id FROM results") == [(1, 1.0, None)]


def test_a_workload_without_a_mix_runs_at_l0(desk: Desk, engine: EchoEngine) -> None:
    _, shard = a_shard(desk, lines=2, workload="never-seen")
    with_mix(desk, 0.0, 0.0, 1.0)
    generation.run_shard(desk.context, desk.worker(engine), shard)
    assert [request.body["messages"] for request in engine.requests] == [
        chat("Say 1.")["messages"],
        chat("Say 2.")["messages"],
    ]


def test_the_drawn_probability_is_logged(desk: Desk, engine: EchoEngine) -> None:
    batch, shard = a_shard(desk, lines=300)
    mix = with_mix(desk, 0.5, 0.3, 0.2)
    generation.run_shard(desk.context, desk.worker(engine), shard)
    rows = desk.rows("SELECT custom_id, level, probability, mix_id FROM results JOIN requests USING (batch_id, line)")
    assert len(rows) == 300
    for custom_id, level, probability, mix_id in rows:
        drawn = draw_level(mix.probabilities, request_key=f"{batch.id}/{custom_id}", mix_id=mix.id)
        assert (level, probability, mix_id) == (drawn, mix.probabilities[drawn], mix.id)
    levels = [level for _, level, _, _ in rows]
    assert 110 < levels.count(0) < 190
    assert 60 < levels.count(1) < 120


def test_fewer_levels_than_a_mix_was_made_for(desks: Desks, engine: EchoEngine) -> None:
    """The directives were changed, and the mixes are not recomputed yet."""
    desk = desks.desk(directives=["", "short"])
    batch, shard = a_shard(desk, lines=5)
    with desk.context.database.transaction() as connection:
        store_mix(connection, probabilities=(0.0, 0.0, 1.0))
    generation.run_shard(desk.context, desk.worker(engine), shard)
    assert desk.rows("SELECT DISTINCT level FROM results") == [0]
    assert desk.batch(batch.id).status == "finalizing"
