"""Which requests a round of evaluation draws."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from sqlalchemy import Connection, select

from app.store import candidates, results, rounds
from app.store.candidates import Candidates
from app.store.database import TENANT
from app.store.quality import evaluation_samples
from app.store.rounds import Round
from tests.support.clock import NOON
from tests.support.factories import MODEL, a_request, a_result, store_batch, store_mix

AMONG = Candidates(
    tenant=TENANT, model=MODEL, since=NOON - timedelta(hours=24), not_asked_since=NOON - timedelta(days=30)
)
Served = Sequence[tuple[int, float]]
"""Level and its probability, line by line."""


def serve(connection: Connection, served: Served) -> None:
    batch = store_batch(connection, lines=[a_request(number) for number in range(1, len(served) + 1)])
    mix = store_mix(connection)
    rows = [
        a_result(batch, number, level=level, probability=probability, mix_id=mix.id)
        for number, (level, probability) in enumerate(served, start=1)
    ]
    results.record(connection, rows)


def drawn(connection: Connection, number: int, round_id: str = "round_1") -> Sequence[int]:
    """Lines of a round of so many prompts."""
    opened = Round(
        id=round_id,
        tenant_id=TENANT,
        model=MODEL,
        reason="test",
        forced=False,
        budget_g=1.0,
        requests=number,
        opened_at=NOON,
    )
    rounds.add(connection, opened)
    candidates.draw(connection, AMONG, round_id=round_id, wanted={"default": number}, now=NOON)
    query = select(evaluation_samples.c.line).where(evaluation_samples.c.round_id == round_id)
    return sorted(connection.execute(query).scalars())


def test_requests_served_at_l0_come_first_and_others_fill_up(connection: Connection) -> None:
    serve(connection, [(1, 0.9)] * 20 + [(0, 0.1)] * 10)
    found = drawn(connection, 15)
    assert len(found) == 15
    assert set(range(21, 31)) <= set(found)


def test_hours_with_much_at_l0_are_not_overrepresented(connection: Connection) -> None:
    """1 000 requests at L0 of an hour that served nothing else, and 100 of an hour of ten times as many requests."""
    serve(connection, [(0, 1.0)] * 1000 + [(0, 0.01)] * 100)
    found = drawn(connection, 50)
    # Each of the 100 stands for 100 requests: 10 000 beside 1 000.
    assert sum(line > 1000 for line in found) == pytest.approx(50 * 10 / 11, abs=8)


def test_a_round_draws_the_same_again_and_another_one_others(connection: Connection) -> None:
    serve(connection, [(0, 0.5)] * 200)
    with connection.begin_nested() as undone:
        first = drawn(connection, 20)
        undone.rollback()
    with connection.begin_nested() as undone:
        assert drawn(connection, 20) == first
        undone.rollback()
    assert drawn(connection, 20, "round_2") != first
