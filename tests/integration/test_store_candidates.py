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


def serve(connection: Connection, *under: Sequence[int]) -> None:
    """A mix for each of `under`, and a request for each of its levels, in the order of the lines."""
    levels = [(level, number) for number, each in enumerate(under) for level in each]
    batch = store_batch(connection, lines=[a_request(number) for number in range(1, len(levels) + 1)])
    mixes = [store_mix(connection) for _ in under]
    rows = [
        a_result(batch, line, level=level, mix_id=mixes[number].id)
        for line, (level, number) in enumerate(levels, start=1)
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
    rounds.close(connection, round_id, NOON)  # so that another one may be opened
    candidates.draw(connection, AMONG, round_id=round_id, wanted={"default": number}, now=NOON)
    query = select(evaluation_samples.c.line).where(evaluation_samples.c.round_id == round_id)
    return sorted(connection.execute(query).scalars())


def test_requests_served_at_l0_come_first_and_others_fill_up(connection: Connection) -> None:
    serve(connection, [1] * 20 + [0] * 10)
    found = drawn(connection, 15)
    assert len(found) == 15
    assert set(range(21, 31)) <= set(found)


@pytest.mark.parametrize("number", [10, 60, 150])
def test_every_mix_has_its_share_however_much_of_it_was_at_l0(connection: Connection, number: int) -> None:
    """A third of the requests was served when all were kept at L0, two thirds when hardly any was."""
    serve(connection, [0] * 100, [0] * 10 + [1] * 190)
    found = drawn(connection, number)
    assert sum(line > 100 for line in found) == pytest.approx(number * 2 / 3, abs=1)
    assert len(set(found) & set(range(101, 111))) == min(10, sum(line > 100 for line in found))


def test_all_rounds_of_a_day_together_keep_the_shares(connection: Connection) -> None:
    serve(connection, [0] * 100, [0] * 10 + [1] * 190)
    found = [line for number in range(3) for line in drawn(connection, 50, f"round_{number}")]
    assert len(set(found)) == 150
    assert sum(line > 100 for line in found) == pytest.approx(100, abs=3)


def test_mixes_of_few_requests_are_not_left_out(connection: Connection) -> None:
    serve(connection, *([[0, 1, 1]] * 40))
    assert len({(line - 1) // 3 for line in drawn(connection, 40)}) > 30
    found = drawn(connection, 4, "round_2")
    assert len(found) == 4


def test_a_round_draws_the_same_again_and_another_one_others(connection: Connection) -> None:
    serve(connection, [0] * 200)
    with connection.begin_nested() as undone:
        first = drawn(connection, 20)
        undone.rollback()
    with connection.begin_nested() as undone:
        assert drawn(connection, 20) == first
        undone.rollback()
    assert drawn(connection, 20, "round_2") != first
