from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

import pytest

from app.domain.completion import Completion, EngineRequest, error_body
from app.domain.errors import EngineFailed, JudgeUnavailable
from app.domain.judging import REPLY_TOKENS, Comparison, Opinion, Question, messages, response_format
from tests.support.engine import EchoEngine
from tests.support.openai_server import HANG, OpenAIServer, Response
from tests.support.waiting import eventually
from workers.engines.openai import OpenAIEngine
from workers.engines.streaming import completion
from workers.judges.chat import LONGEST_REPLY, ChatJudge

Script = Callable[[EngineRequest], Completion | None]
MINUTE_S = 60.0


def comparisons(number: int, prompt: str = "2 + 3?") -> Sequence[Comparison]:
    return [
        Comparison(key=f"c{place}", question=Question(prompt=prompt), answers=("7", f"5, says {place}"))
        for place in range(number)
    ]


def says(text: object, **more: Any) -> Mapping[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return {"choices": [choice], "usage": {"prompt_tokens": 100, "completion_tokens": 6}, **more}


def answering(status: int, body: Mapping[str, Any]) -> Script:
    return lambda request: completion(request.key, status, body)


SECOND = answering(200, says('{"best": 2}'))


class Engines:
    """Opens engines and closes them at the end."""

    def __init__(self) -> None:
        self.opened: list[EchoEngine] = []

    def __call__(self, script: Script) -> EchoEngine:
        self.opened.append(EchoEngine(script))
        return self.opened[-1]


@pytest.fixture
def engines() -> Iterator[Engines]:
    found = Engines()
    yield found
    for engine in found.opened:
        engine.close()


def judge(engine: Any, **options: Any) -> ChatJudge:
    return ChatJudge(engine, name="engine", model="m", **options)


def asked(one: ChatJudge, number: int = 1) -> dict[str, Opinion]:
    given = [opinion for group in one.judge(comparisons(number)) for opinion in group]
    assert len({opinion.key for opinion in given}) == len(given) == number
    return {opinion.key: opinion for opinion in given}


def test_it_asks_for_a_short_reply_in_a_fixed_form_at_temperature_0(engines: Engines) -> None:
    engine = engines(SECOND)
    asked(judge(engine))
    (request,) = engine.requests
    assert request.endpoint == "/v1/chat/completions"
    assert request.body == {
        "model": "m",
        "messages": messages(comparisons(1)[0]),
        "temperature": 0,
        "max_tokens": REPLY_TOKENS,
        "response_format": response_format(2),
    }


def test_an_opinion_carries_the_reply_and_its_tokens(engines: Engines) -> None:
    (one,) = asked(judge(engines(SECOND))).values()
    assert one == Opinion(key="c0", preferred=1, reply='{"best": 2}', prompt_tokens=100, completion_tokens=6)


# Where forms are not known.


def no_forms(request: EngineRequest) -> Completion | None:
    if "response_format" in request.body:
        return completion(request.key, 400, error_body("response_format: json_schema is not supported here"))
    return SECOND(request)


def test_a_server_that_refuses_the_form_is_asked_again_without_it_and_then_only_so(engines: Engines) -> None:
    engine = engines(no_forms)
    one = judge(engine)
    assert {opinion.preferred for opinion in asked(one, 20).values()} == {1}
    tried = len(engine.requests)
    assert tried <= 40
    assert {opinion.preferred for opinion in asked(one, 20).values()} == {1}
    assert len(engine.requests) == tried + 20
    assert not any("response_format" in request.body for request in engine.requests[tried:])


def test_only_those_that_were_refused_for_their_form_are_asked_again(engines: Engines) -> None:
    def some(request: EngineRequest) -> Completion | None:
        return no_forms(request) if request.key == "c1" else SECOND(request)

    engine = engines(some)
    assert {opinion.preferred for opinion in asked(judge(engine), 3).values()} == {1}
    assert sorted(request.key for request in engine.requests) == ["c0", "c1", "c1", "c2"]


def test_any_other_refusal_is_a_fault(engines: Engines) -> None:
    engine = engines(answering(400, error_body("The prompt is longer than the model's context.")))
    (one,) = asked(judge(engine)).values()
    assert (one.fault, one.cited) == ("the judge answered 400", "The prompt is longer than the model's context.")
    assert one.preferred is None
    assert len(engine.requests) == 1


def test_a_server_that_refuses_its_own_excuse_is_not_asked_for_ever(engines: Engines) -> None:
    engine = engines(answering(400, error_body("response_format is unknown, and so is everything else")))
    (one,) = asked(judge(engine)).values()
    assert one.fault.startswith("the judge answered 400")
    assert len(engine.requests) == 2


# The rate limit.


class Minutes:
    """A clock that moves while one waits for it."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.begun: list[float] = []

    def read(self) -> float:
        return self.now_s

    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    def noting(self, script: Script) -> Script:
        def noted(request: EngineRequest) -> Completion | None:
            self.begun.append(self.now_s)
            return script(request)

        return noted

    def most_in_a_minute(self) -> int:
        return max(sum(begun - MINUTE_S < other <= begun for other in self.begun) for begun in self.begun)


@pytest.mark.parametrize("script", [SECOND, no_forms])
def test_no_minute_sees_more_requests_than_allowed(engines: Engines, script: Script) -> None:
    time = Minutes()
    engine = engines(time.noting(script))
    one = judge(engine, per_minute=7, clock=time.read, wait=time.wait)
    assert {opinion.preferred for opinion in asked(one, 25).values()} == {1}
    assert time.most_in_a_minute() == 7
    # No longer than needed: 7 at once, and 7 after each minute.
    assert time.now_s - 1000 <= (len(engine.requests) - 1) // 7 * MINUTE_S + 1


def test_the_limit_holds_over_calls(engines: Engines) -> None:
    time = Minutes()
    one = judge(engines(time.noting(SECOND)), per_minute=5, clock=time.read, wait=time.wait)
    for _ in range(4):
        asked(one, 3)
    assert time.most_in_a_minute() == 5


def test_while_it_waits_it_says_so_and_can_be_stopped(engines: Engines) -> None:
    time = Minutes()
    engine = engines(SECOND)
    groups = judge(engine, per_minute=1, clock=time.read, wait=time.wait).judge(comparisons(2))
    assert [opinion.key for opinion in next(groups)] == ["c0"]
    assert next(groups) == []
    groups.close()
    assert len(engine.requests) == 1


def test_without_a_limit_all_are_asked_at_once(engines: Engines) -> None:
    def refuse(_: float) -> None:
        pytest.fail("it waited")

    engine = engines(SECOND)
    asked(judge(engine, wait=refuse), 200)
    assert len(engine.requests) == 200


# What comes back.


@pytest.mark.parametrize(
    "body",
    [
        says("I like them both."),
        says(""),
        says(None),
        says([]),
        says('{"best": 9}'),
        says("9" * 100_000),
        says({"best": 1}),
        {"choices": []},
        {"choices": [{}]},
        {},
        {"error": {"message": "no"}},
    ],
    ids=str,
)
def test_garbage_is_a_fault_of_that_comparison_alone(engines: Engines, body: Mapping[str, Any]) -> None:
    def one_bad(request: EngineRequest) -> Completion | None:
        return completion(request.key, 200, body) if request.key == "c1" else SECOND(request)

    given = asked(judge(engines(one_bad)), 3)
    assert {key: opinion.preferred for key, opinion in given.items()} == {"c0": 1, "c1": None, "c2": 1}
    assert [key for key, opinion in given.items() if opinion.fault] == ["c1"]
    assert len(given["c1"].reply) <= LONGEST_REPLY


@pytest.mark.parametrize("text", ["<html>busy</html>", "[]", "7", ""])
def test_what_is_no_json_object_is_a_fault(text: str) -> None:
    with (
        OpenAIServer(lambda _: Response(text=text)) as server,
        closing(OpenAIEngine(server.url)) as engine,
    ):
        (one,) = asked(judge(engine)).values()
    assert one.fault.startswith("the judge answered 502")


def test_one_that_takes_too_long_is_a_fault(engines: Engines) -> None:
    def slow(request: EngineRequest) -> Completion | None:
        return None if request.key == "c0" else SECOND(request)

    one = judge(engines(slow), timeout_s=0.1)
    given = {opinion.key: opinion for group in one.judge(comparisons(2, HANG)) for opinion in group}
    assert given["c0"].fault.startswith("the judge answered 408")
    assert given["c1"].preferred == 1


def test_a_server_that_stays_away_for_as_long_as_a_request_may_take_cannot_be_asked() -> None:
    with (
        OpenAIServer(lambda _: Response(status=503)) as server,
        closing(OpenAIEngine(server.url)) as engine,
        pytest.raises(JudgeUnavailable, match="busy"),
    ):
        asked(judge(engine, timeout_s=0.2))


def test_what_was_answered_before_it_went_away_was_said() -> None:
    with (
        OpenAIServer(
            lambda body: Response(body=says("1")) if "says 0" in str(body) else Response(status=401)
        ) as server,
        closing(OpenAIEngine(server.url, concurrency=1)) as engine,
    ):
        groups = judge(engine).judge(comparisons(3))
        assert [opinion.key for opinion in next(groups)] == ["c0"]
        with pytest.raises(JudgeUnavailable):
            next(groups)


def test_the_end_of_ones_own_engine_is_no_matter_of_the_judge(engines: Engines) -> None:
    def dead(_: EngineRequest) -> Completion | None:
        raise EngineFailed("The engine has died.")

    with pytest.raises(EngineFailed, match="died"):
        asked(judge(engines(dead)))


def test_closing_aborts_what_is_still_asked(engines: Engines) -> None:
    engine = engines(lambda _: None)
    with closing(judge(engine).judge(comparisons(3, HANG))) as groups:
        assert next(groups) == []
        assert len(engine.drain_work()) == 3
    engine.drain_work()
    eventually(lambda: not engine.drain_work())


@pytest.mark.parametrize("status", [403, 404, 405])
def test_where_no_comparison_would_be_answered_the_judge_cannot_be_asked(engines: Engines, status: int) -> None:
    engine = engines(answering(status, error_body("The model `m` does not exist.")))
    with pytest.raises(JudgeUnavailable, match=rf"answered {status}: check its URL, model and key"):
        asked(judge(engine))


def test_what_a_server_says_is_wrong_can_be_stored(engines: Engines) -> None:
    (one,) = asked(judge(engines(answering(400, error_body("half \ud83d and \0"))))).values()
    assert one.fault is not None
    assert "\0" not in one.fault
    one.fault.encode()


def test_a_judges_key_and_password_are_not_confused_with_the_engines_nor_shown() -> None:
    with OpenAIServer() as server:
        server.on_request = lambda _: Response(status=401)
        address = server.url.replace("http://", "http://user:hunter2@")
        engine = OpenAIEngine(address, key_setting="SPROUT_JUDGE_KEY")
        with closing(engine), pytest.raises(JudgeUnavailable, match="check SPROUT_JUDGE_KEY") as caught:
            asked(judge(engine, timeout_s=5.0))
        assert "hunter2" not in str(caught.value)
