from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from workers.engines.slots import Slots


class Ticks:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(10):
            await scenario()

    asyncio.run(bounded())


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_work_is_the_seconds_of_each_holder_times_its_places(ticks: Ticks) -> None:
    slots = Slots(4, clock=ticks)

    async def scenario() -> None:
        async with slots.hold("a", 1):
            ticks.now += 2
            async with slots.hold("b", 3):
                ticks.now += 5
        ticks.now += 7

    run(scenario)
    assert slots.drain() == {"a": 7, "b": 15}
    assert slots.drain() == {}


def test_draining_in_the_middle_splits_the_work(ticks: Ticks) -> None:
    slots = Slots(1, clock=ticks)

    async def scenario() -> None:
        async with slots.hold("a", 1):
            ticks.now += 2
            assert slots.drain() == {"a": 2}
            ticks.now += 3
        assert slots.drain() == {"a": 3}

    run(scenario)
    assert slots.drain() == {}


def test_busy_time_counts_overlapping_holders_once_and_idle_time_never(ticks: Ticks) -> None:
    slots = Slots(2, clock=ticks)

    async def scenario() -> None:
        async with slots.hold("a", 1), slots.hold("b", 1):
            ticks.now += 4
        ticks.now += 10
        async with slots.hold("c", 1):
            ticks.now += 1
            assert slots.busy_s() == 5

    run(scenario)
    assert slots.busy_s() == 5


def test_waiting_is_not_work_and_the_order_is_kept(ticks: Ticks) -> None:
    slots = Slots(2, clock=ticks)
    order: list[str] = []

    async def holder(key: str, places: int, seconds: float) -> None:
        async with slots.hold(key, places):
            order.append(key)
            ticks.now += seconds
            await asyncio.sleep(0)

    async def scenario() -> None:
        # "wide" needs both places: "late" must not slip in before it.
        await asyncio.gather(holder("first", 1, 1), holder("wide", 2, 2), holder("late", 1, 4))

    run(scenario)
    assert order == ["first", "wide", "late"]
    assert slots.drain() == {"first": 1, "wide": 4, "late": 4}


def test_a_request_wider_than_the_batch_takes_all_of_it(ticks: Ticks) -> None:
    slots = Slots(2, clock=ticks)

    async def scenario() -> None:
        async with slots.hold("huge", 99):
            ticks.now += 1

    run(scenario)
    assert slots.drain() == {"huge": 2}


def test_a_holder_that_is_cancelled_while_it_waits_leaves_no_trace(ticks: Ticks) -> None:
    slots = Slots(2, clock=ticks)

    async def wait_for_both() -> None:
        async with slots.hold("wide", 2):
            pytest.fail("there was only one place")

    async def scenario() -> None:
        async with slots.hold("first", 1):
            waiting = asyncio.create_task(wait_for_both())
            await settle()
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            async with slots.hold("second", 1):
                ticks.now += 1

    run(scenario)
    assert slots.drain() == {"first": 1, "second": 1}
