"""Drops in quality that are none, and one that is, as the tick sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import pytest

from app.domain.judging import Outcome, Vote
from app.ports import Task
from app.services import directives, rounds
from app.store import verdicts
from app.store.database import TENANT
from tests.support.factories import MODEL, a_verdict, store_batch
from tests.support.grid import ScriptedProvider
from tests.support.rounds import HOURS
from tests.support.services import Desk, Desks

Said = Mapping[str, Any]
"""What differs of a verdict."""


@pytest.fixture
def desk(desks: Desks) -> Desk:
    """An installation in which L1 saves nearly everything."""
    found = desks.desk(judge="engine")
    for stratum in ("default", "default~0", "default~1"):
        found.measure(level=0, workload=stratum)
        found.measure(level=1, energy_j=1000.0, device_s=1.0, workload=stratum)
    return found


def enter(desk: Desk, said: Sequence[Said]) -> None:
    with desk.context.database.transaction() as connection:
        batch = store_batch(connection, lines=len(said))
        now = desk.clock.now()
        verdicts.add(connection, [a_verdict(batch, line, created_at=now, **each) for line, each in enumerate(said, 1)])


def events(desk: Desk, workloads: Sequence[str]) -> Sequence[str]:
    """Of four ticks under mixes that rest on what was entered."""
    desk.expect(HOURS)
    desk.see()
    with desk.context.database.transaction() as connection:
        directives.ensure_mixes(desk.context, connection, TENANT, MODEL, workloads)
    assert desk.rows("SELECT count(*) FROM directive_mixes WHERE probabilities[2] > 0")[0]
    look(desk)
    return desk.rows("SELECT message FROM events")


def look(desk: Desk) -> None:
    for _ in range(4):
        desk.clock.advance(minutes=1)
        desk.expect(HOURS)
        rounds.consider(desk.context)
        if Task.RECOMPUTE in [task for task, _ in desk.dispatcher.take_all()]:
            directives.recompute(desk.context, ScriptedProvider(400.0))


def wins(rng: Random, rate: float) -> Outcome:
    return Outcome.WIN if rng.random() < rate else Outcome.LOSS


def longer_wins(rng: Random, number: int, rate: float = 0.6) -> Sequence[Said]:
    """By a judge that gives the longer answer 20 points more; most answers are the shorter ones."""
    said = []
    for _ in range(number):
        longer = -1 if rng.random() < 0.8 else 1
        said.append(
            {
                "judge": "openai",
                "judge_model": "j",
                "prompt_version": "1",
                "when_first": Vote.LEVEL,
                "when_second": Vote.LEVEL,
                "length": 100 + 50 * longer,
                "outcome": wins(rng, rate + 0.2 * longer),
            }
        )
    return said


def test_strata_that_differ_have_not_dropped(desk: Desk) -> None:
    rng = Random(1)
    rates = {"default~0": 0.65, "default~1": 0.35}
    said = [{"workload": stratum, "outcome": wins(rng, rate)} for stratum, rate in rates.items() for _ in range(400)]
    rng.shuffle(said)
    enter(desk, said)
    assert not events(desk, list(rates))


def test_what_a_judge_takes_from_short_answers_is_no_drop(desk: Desk) -> None:
    enter(desk, longer_wins(Random(2), 800))
    assert not events(desk, ["default"])


def test_a_drop_is_seen_through_a_judges_bias(desk: Desk) -> None:
    rng = Random(3)
    enter(desk, longer_wins(rng, 800))
    assert not events(desk, ["default"])
    enter(desk, longer_wins(rng, 200, rate=0.25))
    look(desk)
    (message,) = desk.rows("SELECT message FROM events")
    assert message.startswith(f"Answers of {MODEL} to default at L1 have become worse")


def test_ties_of_a_judge_that_is_not_believed_are_no_drop(desk: Desk) -> None:
    rng = Random(4)
    enter(desk, [{"outcome": wins(rng, 0.7)} for _ in range(300)])
    follows = {"judge": "engine", "judge_model": "m", "prompt_version": "1", "outcome": Outcome.TIE}
    enter(desk, [{**follows, "when_first": Vote.LEVEL, "when_second": Vote.L0} for _ in range(200)])
    assert not events(desk, ["default"])
