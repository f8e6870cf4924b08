"""What every `Judge` does, run on each implementation and on the fake."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import Any

import pytest

from app.domain.completion import Completion, EngineRequest
from app.domain.errors import EngineUnavailable, InvalidInput, JudgeUnavailable
from app.domain.judging import Comparison, Kind, Opinion, Question
from app.ports import Engine, Judge
from tests.support.engine import EchoEngine
from tests.support.judge import ScriptedJudge
from tests.support.openai_server import HANG, REFUSE, OpenAIServer, Response, prompt_of
from tests.support.waiting import eventually
from workers.engines.openai import OpenAIEngine
from workers.engines.streaming import completion
from workers.judges.chat import ChatJudge
from workers.judges.reference import ReferenceJudge

RIGHT, WRONG = "It is 5.", "It is 7."
RAMBLE = "[ramble]"
"""A request with this word gets a reply that names no answer."""
MANY = 40

SHOWN = re.compile(r"^\[(\w+) answer (\d)\]\n(.*?)\n\[\1 end of answer \2\]$", re.MULTILINE | re.DOTALL)


def right(answers: Sequence[str]) -> int | None:
    """The mind of all of them: the only right answer is best."""
    found = [place for place, text in enumerate(answers) if text == RIGHT]
    return found[0] if len(found) == 1 else None


def mind(comparison: Comparison) -> int | None:
    if RAMBLE in comparison.question.prompt or REFUSE in comparison.question.prompt:
        raise InvalidInput("The judge named none of them.")
    return right(comparison.answers)


def reply(prompt: str) -> str | None:
    """What a language model with that mind says; None leaves the request to the echo, which refuses or hangs."""
    if REFUSE in prompt or HANG in prompt:
        return None
    best = right([text for _, _, text in SHOWN.findall(prompt)])
    return "They are both very good." if RAMBLE in prompt else f'{{"best": {0 if best is None else best + 1}}}'


def chat_body(text: str) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return {"choices": [choice], "usage": {"prompt_tokens": 100, "completion_tokens": 6}}


@dataclass
class Bench:
    judge: Judge
    faulty: str = RAMBLE
    """A word in a request that the judge fails at."""
    go_away: Callable[[], None] | None = None
    """None: it is always there."""
    engine: Engine | None = None


def scripted(_: ExitStack) -> Bench:
    judge = ScriptedJudge(mind)
    return Bench(judge, go_away=lambda: setattr(judge, "away", True))


def reference(_: ExitStack) -> Bench:
    return Bench(ReferenceJudge())


@dataclass
class Talk:
    """What stands behind an engine: it replies, until it is away."""

    away: bool = False
    bodies: list[Mapping[str, Any]] = field(default_factory=list)

    def respond(self, body: dict[str, Any]) -> Response | None:
        self.bodies.append(body)
        if self.away:
            return Response(status=401, body={"error": {"message": "No such key."}})
        text = reply(prompt_of(body))
        return None if text is None else Response(body=chat_body(text))

    def complete(self, request: EngineRequest) -> Completion | None:
        if self.away:
            raise EngineUnavailable("It is away.")
        found = self.respond(dict(request.body))
        return None if found is None else completion(request.key, found.status, found.body)

    def leave(self) -> None:
        self.away = True


def chat(stack: ExitStack, fault: str = RAMBLE) -> Bench:
    talk = Talk()
    engine = stack.enter_context(closing(EchoEngine(talk.complete)))
    return Bench(ChatJudge(engine, name="engine", model="m"), faulty=fault, go_away=talk.leave, engine=engine)


def refusing(stack: ExitStack) -> Bench:
    return chat(stack, REFUSE)


def openai(stack: ExitStack) -> Bench:
    talk = Talk()
    server = stack.enter_context(OpenAIServer(talk.respond))
    engine = stack.enter_context(closing(OpenAIEngine(server.url, concurrency=8, model="theirs")))
    return Bench(ChatJudge(engine, name="openai", model="theirs"), go_away=talk.leave, engine=engine)


@pytest.fixture(params=[reference, scripted, chat, refusing, openai])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    with ExitStack() as stack:
        yield request.param(stack)


def comparison(key: str, *answers: str, prompt: str = "2 + 3?", known: str | None = "#### 5") -> Comparison:
    return Comparison(key=key, question=Question(prompt=prompt, reference=known), answers=answers or (WRONG, RIGHT))


def faulty(bench: Bench, key: str) -> Comparison:
    """The reference judge fails without a reference, the others at a word of the request."""
    return comparison(key, prompt=f"2 + 3? {bench.faulty}", known=None)


def asked(judge: Judge, comparisons: Sequence[Comparison]) -> dict[str, Opinion]:
    given = [one for group in judge.judge(comparisons) for one in group]
    assert len({one.key for one in given}) == len(given), "a comparison got two opinions"
    return {one.key: one for one in given}


def test_each_comparison_gets_one_opinion(bench: Bench) -> None:
    comparisons = [comparison(f"c{number}") for number in range(MANY)]
    given = asked(bench.judge, comparisons)
    assert given.keys() == {one.key for one in comparisons}
    assert {(one.preferred, one.fault) for one in given.values()} == {(1, "")}


def test_no_comparisons_get_no_opinions(bench: Bench) -> None:
    assert asked(bench.judge, []) == {}


@pytest.mark.parametrize(
    ("answers", "preferred"),
    [
        ((RIGHT, WRONG), 0),
        ((WRONG, RIGHT), 1),
        ((WRONG, WRONG, RIGHT), 2),
        ((RIGHT, RIGHT), None),
        ((WRONG, "It is 8."), None),
    ],
)
def test_the_best_is_named_by_its_place(bench: Bench, answers: tuple[str, ...], preferred: int | None) -> None:
    (one,) = asked(bench.judge, [comparison("c", *answers)]).values()
    assert (one.preferred, one.fault) == (preferred, "")


def test_a_fault_costs_one_comparison_and_says_why(bench: Bench) -> None:
    comparisons = [comparison("before"), faulty(bench, "bad"), comparison("after")]
    given = asked(bench.judge, comparisons)
    assert {key: one.preferred for key, one in given.items()} == {"before": 1, "bad": None, "after": 1}
    assert {key for key, one in given.items() if one.fault} == {"bad"}


def test_the_same_is_said_when_it_is_asked_again(bench: Bench) -> None:
    comparisons = [comparison("c"), faulty(bench, "bad")]
    first, second = (asked(bench.judge, comparisons) for _ in range(2))
    assert {key: one.preferred for key, one in first.items()} == {key: one.preferred for key, one in second.items()}


def test_it_says_so_when_it_cannot_be_asked(bench: Bench) -> None:
    if bench.go_away is None:
        assert isinstance(bench.judge, ReferenceJudge), "only who asks nobody is always there"
        return
    assert asked(bench.judge, [comparison("c")])
    bench.go_away()
    with pytest.raises(JudgeUnavailable, match="cannot be asked"):
        asked(bench.judge, [comparison("c")])


def test_one_that_is_stopped_stops_and_can_be_asked_anew(bench: Bench) -> None:
    groups = bench.judge.judge([comparison(f"c{number}") for number in range(MANY)])
    next(groups)
    groups.close()
    with pytest.raises(StopIteration):
        next(groups)
    if bench.engine:
        bench.engine.drain_work()
        eventually(lambda: bench.engine and not bench.engine.drain_work())
    assert asked(bench.judge, [comparison("again")])["again"].preferred == 1


def test_it_says_what_it_is(bench: Bench) -> None:
    assert bench.judge.name
    assert ":" not in bench.judge.name, "a colon sets the model apart"
    assert bench.judge.kind in Kind
    assert bench.judge.heeds_order is (bench.judge.kind is Kind.PREFERENCE)
