from __future__ import annotations

from app.embedded.backoff import FIRST_DELAY_S, GOOD_LIFE_S, LONGEST_DELAY_S, LOOP_DEATHS, LOOP_WINDOW_S, Backoff


def test_the_delay_doubles_up_to_the_longest() -> None:
    backoff = Backoff()
    lives = [20.0 * i for i in range(12)]  # far enough apart to be no crash loop
    delays = [backoff.died(started_at=start, now=start + 19) for start in lives]
    assert delays[:4] == [FIRST_DELAY_S, 2 * FIRST_DELAY_S, 4 * FIRST_DELAY_S, 8 * FIRST_DELAY_S]
    assert delays[-1] == LONGEST_DELAY_S
    assert not backoff.crash_loop


def test_a_good_life_resets_the_delay() -> None:
    backoff = Backoff()
    backoff.died(started_at=0, now=10)
    assert backoff.died(started_at=20, now=20 + GOOD_LIFE_S - 0.1) == 2 * FIRST_DELAY_S
    assert backoff.died(started_at=200, now=200 + GOOD_LIFE_S) == FIRST_DELAY_S


def test_five_quick_deaths_are_a_crash_loop_that_waits_the_longest() -> None:
    backoff = Backoff()
    for death in range(LOOP_DEATHS - 1):
        backoff.died(started_at=death, now=death)
        assert not backoff.crash_loop
    assert backoff.died(started_at=4, now=LOOP_WINDOW_S) == LONGEST_DELAY_S
    assert backoff.crash_loop


def test_a_crash_loop_lasts_until_a_good_life() -> None:
    backoff = Backoff()
    for _ in range(LOOP_DEATHS):
        backoff.died(started_at=0, now=0)
    assert backoff.died(started_at=1_000, now=1_001) == LONGEST_DELAY_S
    assert backoff.crash_loop
    assert backoff.died(started_at=2_000, now=2_000 + GOOD_LIFE_S) == FIRST_DELAY_S
    assert not backoff.crash_loop
