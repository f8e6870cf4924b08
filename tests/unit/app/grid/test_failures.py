from __future__ import annotations

from datetime import timedelta

import pytest

from app.grid.failures import RETRY, Failures
from tests.support.clock import NOON
from tests.support.grid import ScriptedProvider


@pytest.mark.parametrize(
    ("later", "recent"),
    [
        (timedelta(), True),
        (RETRY - timedelta(seconds=1), True),
        (RETRY, False),
        (timedelta(seconds=-1), False),
    ],
    ids=["now", "within five minutes", "after five minutes", "a clock set back"],
)
def test_a_failure_counts_for_five_minutes(later: timedelta, recent: bool) -> None:
    failures, provider = Failures(), ScriptedProvider()
    failures.note(provider, "DE", NOON)
    assert failures.are_recent(provider, "DE", NOON + later) is recent


def test_other_zones_and_other_sources_did_not_fail() -> None:
    failures, provider = Failures(), ScriptedProvider()
    failures.note(provider, "DE", NOON)
    assert not failures.are_recent(provider, "FR", NOON)
    assert not failures.are_recent(ScriptedProvider(), "DE", NOON)
