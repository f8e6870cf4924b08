from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from app.domain.completion import Completion, EngineRequest
from app.domain.errors import ConfigurationError, EngineFailed
from tests.support.engine import EchoEngine


def ask(key: str, prompt: str = "hello") -> EngineRequest:
    body = {"model": "m", "messages": [{"role": "user", "content": prompt}]}
    return EngineRequest(key=key, endpoint="/v1/chat/completions", body=body)


@pytest.fixture
def engine() -> Iterator[EchoEngine]:
    with closing(EchoEngine()) as built:
        yield built


def test_an_unexpected_error_is_a_500_of_that_line_alone(engine: EchoEngine, caplog: pytest.LogCaptureFixture) -> None:
    def stumble(request: EngineRequest) -> Completion | None:
        if request.key == "odd":
            raise KeyError("surprise")
        return None

    engine.on_request = stumble
    with caplog.at_level(logging.ERROR):
        groups = list(engine.generate([ask("a"), ask("odd"), ask("b")], timeout_s=5, wait_s=5))
    statuses = {one.key: one.status_code for group in groups for one in group}
    assert statuses == {"a": 200, "odd": 500, "b": 200}
    assert "Request odd failed" in caplog.text


def test_a_time_out_that_is_not_ours_is_not_a_408(engine: EchoEngine, caplog: pytest.LogCaptureFixture) -> None:
    def stumble(request: EngineRequest) -> Completion | None:
        raise TimeoutError("somebody else's")

    engine.on_request = stumble
    ((one,),) = engine.generate([ask("a")], timeout_s=5, wait_s=5)
    assert one.status_code == 500
    assert "somebody else's" in one.body["error"]["message"]


def test_what_was_finished_before_the_engine_died_is_yielded_first(engine: EchoEngine) -> None:
    def die(request: EngineRequest) -> Completion | None:
        if request.key == "fatal":
            raise EngineFailed("The engine has died.")
        return None

    engine.on_request = die
    groups = engine.generate([ask("a"), ask("fatal"), ask("b", "[hang]")], timeout_s=60, wait_s=30)
    assert [one.key for one in next(groups)] == ["a"]
    with pytest.raises(EngineFailed, match="has died"):
        next(groups)


def test_requests_finish_in_the_order_in_which_they_end_and_not_in_that_of_the_shard(engine: EchoEngine) -> None:
    requests = [ask("slow", "[hang]"), ask("quick")]
    done = [one for group in engine.generate(requests, timeout_s=0.3, wait_s=5) for one in group]
    assert [one.key for one in done] == ["quick", "slow"]


def test_what_opening_raises_the_constructor_raises_and_no_thread_stays() -> None:
    class Broken(EchoEngine):
        async def open(self) -> None:
            raise ConfigurationError("There is no such model.")

    with pytest.raises(ConfigurationError, match="no such model"):
        Broken()
    assert "echo-engine" not in {thread.name for thread in threading.enumerate() if thread.is_alive()}


def test_nothing_runs_before_the_iterator_is_used(engine: EchoEngine) -> None:
    groups = engine.generate([ask("a")], timeout_s=5, wait_s=5)
    groups.close()
    assert engine.requests == []
    assert engine.drain_work() == {}


def test_several_answers_weigh_as_many_places(engine: EchoEngine) -> None:
    one, many = ask("one", "[hang]"), ask("many", "[hang]")
    many = EngineRequest(key="many", endpoint=many.endpoint, body={**many.body, "n": 4})
    list(engine.generate([one, many], timeout_s=0.3, wait_s=1))
    work = engine.drain_work()
    assert work["many"].place_s == pytest.approx(4 * work["one"].place_s, rel=0.2)
