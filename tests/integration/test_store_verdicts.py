"""What is counted of verdicts, and by what."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection

from app.domain.bias import Counted
from app.domain.judging import Kind, Vote
from app.domain.preference import Tally
from app.store import verdicts
from app.store.database import TENANT
from tests.support.clock import NOON
from tests.support.factories import FINGERPRINT, MODEL, store_verdicts

HALF_LIFE_S = 86_400.0
FIRST_TWICE = {"when_first": Vote.LEVEL, "when_second": Vote.L0}
ASKED = {"judge": "engine", "judge_model": "m", "prompt_version": "1"}


def counted(connection: Connection) -> Sequence[Counted]:
    return verdicts.counted(
        connection,
        TENANT,
        MODEL,
        lambda _: FINGERPRINT,
        kind=Kind.PREFERENCE,
        now=NOON,
        half_life_s=HALF_LIFE_S,
    )


def test_verdicts_are_counted_by_which_answer_was_longer(connection: Connection) -> None:
    store_verdicts(connection, wins=2, ties=1, length=200)
    store_verdicts(connection, losses=3, length=50)
    found = {each.longer: each.tally for each in counted(connection)}
    assert found == {1: Tally(wins=2, ties=1), -1: Tally(losses=3)}


def test_what_was_settled_without_the_judge_is_counted_apart(connection: Connection) -> None:
    store_verdicts(connection, ties=4, **ASKED)
    store_verdicts(connection, ties=1, **ASKED, **FIRST_TWICE)
    store_verdicts(connection, wins=2, **ASKED, when_first=Vote.LEVEL, when_second=Vote.LEVEL)
    settled, asked = sorted(counted(connection), key=lambda each: each.asked)
    own: dict[str, Any] = {"judge": "engine:m", "workload": "default", "level": 1, "longer": 0}
    assert settled == Counted(**own, tally=Tally(ties=4), asked=False)
    assert asked == Counted(**own, tally=Tally(wins=2, ties=1), pairs=3, first_twice=1)


@pytest.mark.parametrize("judge", ["human", "reference"])
def test_who_is_not_asked_in_words_is_always_asked(connection: Connection, judge: str) -> None:
    store_verdicts(connection, ties=1, judge=judge)
    assert [(each.judge, each.asked) for each in counted(connection)] == [(judge, True)]


def test_a_judge_says_something_once(connection: Connection) -> None:
    given = store_verdicts(connection, wins=3)
    assert verdicts.add(connection, given) == 0
    assert verdicts.add(connection, []) == 0
    (found,) = counted(connection)
    assert found.tally == Tally(wins=3)


def test_scores_come_in_the_order_in_which_they_were_given(connection: Connection) -> None:
    for hours, said in enumerate(["wins", "losses", "ties"]):
        store_verdicts(connection, created_at=NOON + timedelta(hours=hours), **{said: 1})
    since = NOON + timedelta(hours=1)
    scores = verdicts.scores_since(connection, TENANT, MODEL, lambda _: FINGERPRINT, since)
    assert [each.score for each in scores] == [0.0, 0.5]
