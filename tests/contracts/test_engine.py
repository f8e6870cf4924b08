"""What every `Engine` does, run on each implementation and on the fake."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from app.domain.attribution import Work
from app.domain.completion import Completion, EngineRequest
from app.domain.endpoints import ENDPOINTS
from app.domain.errors import EngineFailed
from app.ports import Engine
from tests.support.engine import EchoEngine
from tests.support.openai_server import HANG, OpenAIServer
from tests.support.waiting import eventually
from workers.engines.openai import OpenAIEngine
from workers.engines.vllm import BUNDLED_TOOLS, VllmEngine

MODEL = "contract-model"
SLOTS = 16

# vLLM and torch use what they themselves deprecate.
VLLM = pytest.param("vllm", marks=[pytest.mark.model, pytest.mark.filterwarnings("ignore::DeprecationWarning")])


def vllm(request: pytest.FixtureRequest) -> VllmEngine:
    folder = request.getfixturevalue("bundled_model")
    return VllmEngine(
        folder,
        served_model_name=MODEL,
        dtype="bfloat16",
        max_model_len=2048,
        max_num_seqs=SLOTS,
        kv_cache_gb=1,
        options=BUNDLED_TOOLS,
    )


@pytest.fixture(params=["echo", "openai", VLLM], scope="module")
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """One engine for the whole module, because vLLM loads for seconds."""
    with OpenAIServer() as server:
        builders: dict[str, Callable[[], Engine]] = {
            "echo": lambda: EchoEngine(slots=SLOTS),
            "openai": lambda: OpenAIEngine(server.url, concurrency=SLOTS),
            "vllm": lambda: vllm(request),
        }
        with closing(builders[request.param]()) as built:
            yield built


@pytest.fixture
def patience_s(engine: Engine) -> float:
    """Ample for one token, even on a busy machine, and far too short for `endless`."""
    return 5.0 if isinstance(engine, VllmEngine) else 2.0


@pytest.fixture(autouse=True)
def _idle(engine: Engine) -> None:
    """Work that an earlier test aborted is gone, and counted."""
    eventually(lambda: not engine.drain_work())


def ask(key: str, prompt: str = "Say hello", **options: object) -> EngineRequest:
    body = {"model": MODEL, "messages": [{"role": "user", "content": prompt}], "max_tokens": 8, **options}
    return EngineRequest(key=key, endpoint="/v1/chat/completions", body=body)


def endless(key: str) -> EngineRequest:
    """Far more tokens than a test waits for; servers without a model hang on the prompt."""
    return ask(key, f"{HANG} Count on and on", max_tokens=1900, ignore_eos=True)


def run(engine: Engine, requests: Sequence[EngineRequest], *, timeout_s: float = 120) -> dict[str, Completion]:
    done = [one for group in engine.generate(requests, timeout_s=timeout_s, wait_s=0.5) for one in group]
    assert len({one.key for one in done}) == len(done), "a request was answered twice"
    return {one.key: one for one in done}


def test_each_request_is_answered_once_although_there_are_more_of_them_than_slots(engine: Engine) -> None:
    requests = [ask(f"r{index}", f"Name the number {index}") for index in range(3 * SLOTS)]
    done = run(engine, requests)
    assert set(done) == {request.key for request in requests}
    assert all(one.succeeded and one.body["choices"] for one in done.values())


def test_an_answer_carries_the_tokens_that_its_usage_counts(engine: Engine) -> None:
    (one,) = run(engine, [ask("tokens", "Tell me a very long story about a fox", max_tokens=4)]).values()
    assert one.completion_tokens == one.body["usage"]["completion_tokens"] == 4
    assert one.prompt_tokens == one.body["usage"]["prompt_tokens"] > 4
    assert one.body["choices"][0]["finish_reason"] == "length"


def post(endpoint: str, **body: object) -> EngineRequest:
    return EngineRequest(key=endpoint, endpoint=endpoint, body={"model": MODEL, **body})


PROMPTS: Mapping[str, Mapping[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "Say hello"}], "max_tokens": 2},
    "/v1/completions": {"prompt": "Say hello", "max_tokens": 2},
    "/v1/responses": {"input": "Say hello", "max_output_tokens": 2},
    "/v1/embeddings": {"input": "Say hello"},
}


def test_every_endpoint_that_it_says_it_can_is_answered_and_any_other_refused(engine: Engine) -> None:
    assert set(PROMPTS) == set(ENDPOINTS)
    done = run(engine, [post(endpoint, **body) for endpoint, body in PROMPTS.items()])
    assert {endpoint for endpoint, one in done.items() if one.succeeded} == set(engine.endpoints)
    for endpoint in ENDPOINTS.keys() - set(engine.endpoints):
        assert done[endpoint].status_code == 400
        assert done[endpoint].body["error"]["message"].startswith(f"The model {MODEL} does not answer {endpoint}: it")


def test_text_completions_are_answered_too(engine: Engine) -> None:
    body = {"prompt": ["Once upon a time", "The sky over the town"], "max_tokens": 3, "n": 2}
    (one,) = run(engine, [post("/v1/completions", **body)]).values()
    assert one.succeeded
    assert [bool(choice["text"]) for choice in one.body["choices"]] == [True] * 4
    assert one.completion_tokens == one.body["usage"]["completion_tokens"] == 12
    assert one.prompt_tokens == one.body["usage"]["prompt_tokens"] >= 9


def test_responses_are_answered_in_their_own_shape(engine: Engine) -> None:
    said = [{"role": "user", "content": [{"type": "input_text", "text": "Tell me a very long story about a fox"}]}]
    request = post("/v1/responses", input=said, instructions="Be kind.", max_output_tokens=4)
    (one,) = run(engine, [request]).values()
    assert one.succeeded
    assert one.body["object"] == "response"
    assert one.body["status"] == "incomplete"
    assert ENDPOINTS["/v1/responses"].answer(one.body)
    assert one.completion_tokens == one.body["usage"]["output_tokens"] == 4
    assert one.prompt_tokens == one.body["usage"]["input_tokens"] >= 11
    assert engine.drain_work()["/v1/responses"].decode_tokens == 4


def test_numbers_that_are_no_tokens_of_the_model_harm_that_line_alone(engine: Engine) -> None:
    far, good = [2**31 - 1, 2**40], [3, 4, 5]
    requests = [post("/v1/completions", prompt=prompt, max_tokens=2) for prompt in (far, good)]
    done = run(engine, [replace(request, key=key) for request, key in zip(requests, ("far", "good"), strict=True)])
    assert done["good"].succeeded
    assert done["far"].status_code == (400 if isinstance(engine, VllmEngine) else 200)


def test_several_answers_to_one_prompt(engine: Engine) -> None:
    (one,) = run(engine, [ask("three", n=3)]).values()
    assert [choice["index"] for choice in one.body["choices"]] == [0, 1, 2]


def test_a_bad_line_is_refused_and_the_others_are_answered(engine: Engine) -> None:
    done = run(engine, [ask("good"), ask("bad", temperature=-1.0), ask("streamed", stream=True), ask("also good")])
    assert {key: one.status_code for key, one in done.items()} == {
        "good": 200,
        "bad": 400,
        "streamed": 400,
        "also good": 200,
    }
    assert "temperature" in done["bad"].body["error"]["message"]
    assert "stream" in done["streamed"].body["error"]["message"]


def test_several_shards_at_once_each_get_their_own_answers(engine: Engine) -> None:
    def shard(name: int) -> set[str]:
        return set(run(engine, [ask(f"s{name}-{index}") for index in range(SLOTS)]))

    with ThreadPoolExecutor(4) as pool:
        answered = list(pool.map(shard, range(4)))
    assert answered == [{f"s{name}-{index}" for index in range(SLOTS)} for name in range(4)]


def test_an_empty_group_comes_while_nothing_finishes(engine: Engine) -> None:
    with closing(engine.generate([endless("slow")], timeout_s=60, wait_s=0.05)) as groups:
        assert next(groups) == []
        assert next(groups) == []


def test_a_request_that_runs_too_long_becomes_a_408_and_the_others_are_answered(
    engine: Engine, patience_s: float
) -> None:
    done = run(engine, [endless("slow"), ask("quick", max_tokens=1)], timeout_s=patience_s)
    assert done["quick"].succeeded
    assert done["slow"].status_code == 408
    assert f"{patience_s:g} s" in done["slow"].body["error"]["message"]


def test_the_time_out_starts_with_the_request_and_not_with_its_wait_for_a_slot(
    engine: Engine, patience_s: float
) -> None:
    requests = [endless(f"slow{index}") for index in range(SLOTS)] + [ask("last", max_tokens=1)]
    assert run(engine, requests, timeout_s=patience_s)["last"].succeeded


def test_closing_the_iterator_aborts_what_is_in_flight(engine: Engine) -> None:
    requests = [endless(f"slow{index}") for index in range(SLOTS)]
    with closing(engine.generate(requests, timeout_s=60, wait_s=0.05)) as groups:
        next(groups)
        eventually(lambda: len(engine.drain_work()) == SLOTS)
    eventually(lambda: not engine.drain_work())
    assert run(engine, [ask("next")])["next"].succeeded


def test_work_is_reported_for_exactly_the_requests_that_ran_since_the_last_report(engine: Engine) -> None:
    run(engine, [ask("first"), ask("second")])
    work = engine.drain_work()
    assert set(work) == {"first", "second"}
    assert all(done.place_s > 0 for done in work.values())
    assert engine.drain_work() == {}
    run(engine, [ask("third")])
    assert set(engine.drain_work()) == {"third"}


def test_the_work_of_a_running_request_is_reported_before_it_ends(engine: Engine) -> None:
    with closing(engine.generate([endless("slow")], timeout_s=60, wait_s=0.1)) as groups:
        next(groups)
        assert engine.drain_work()["slow"].place_s > 0
        next(groups)
        assert engine.drain_work()["slow"].place_s > 0


def test_the_tokens_of_a_request_are_all_reported_by_its_end(engine: Engine) -> None:
    prompt = "Tell me of the seven seas, one by one, and of what lives in them"
    requests = [ask("one", prompt, max_tokens=5), ask("three", f"Please: {prompt}", n=3, max_tokens=4)]
    done = run(engine, [EngineRequest(**{**vars(one), "body": {**one.body, "ignore_eos": True}}) for one in requests])
    work = engine.drain_work()
    for key, answer in done.items():
        assert work[key].decode_tokens == answer.completion_tokens
        # Less what came from a prefix cache; each of several answers may have computed the prompt.
        assert 0 < work[key].prefill_tokens <= 3 * answer.prompt_tokens


def test_an_aborted_request_is_reported_once_more(engine: Engine) -> None:
    """An engine that can be watched tells of its tokens too, although its server forgets what it aborts."""
    groups = engine.generate([endless("slow"), ask("short", max_tokens=4)], timeout_s=60, wait_s=0.1)
    while "short" not in {answer.key for answer in next(groups)}:
        pass  # the other one has run for as many tokens by then
    groups.close()
    last: dict[str, Work] = {}
    eventually(lambda: "slow" in (last.update(engine.drain_work()) or last))
    assert last["slow"].place_s > 0
    if isinstance(engine, VllmEngine):
        assert last["slow"].prefill_tokens + last["slow"].decode_tokens > 0


def test_busy_time_grows_with_work_and_never_falls(engine: Engine) -> None:
    before = engine.busy_s()
    run(engine, [ask(f"busy{index}", max_tokens=16, ignore_eos=True) for index in range(SLOTS)])
    after = engine.busy_s()
    assert after > before
    assert engine.busy_s() >= after


def test_it_occupies_at_least_one_device(engine: Engine) -> None:
    assert engine.devices >= 1


def test_nothing_to_do_is_done_at_once(engine: Engine) -> None:
    assert list(engine.generate([], timeout_s=1, wait_s=1)) == []


SAMPLING = pytest.mark.parametrize("engine", [VLLM], indirect=True)
"""What only a model can show."""
PERSON = {
    "type": "object",
    "properties": {"age": {"type": "integer", "minimum": 0, "maximum": 9}, "tall": {"type": "boolean"}},
    "required": ["age", "tall"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "measure", "parameters": PERSON, "strict": True}}
"""Without `strict`, only the form of a call is kept to, and not the schema of its arguments."""
NAMED = {"type": "function", "function": {"name": "measure"}}


def schema(content: object) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "person", "schema": content, "strict": True}}


def answers(engine: Engine, **bodies: Mapping[str, Any]) -> dict[str, Any]:
    """The first choice of each, by name; all run at once and all succeed."""
    done = run(engine, [ask(name, **body) for name, body in bodies.items()])
    assert {name: one.body for name, one in done.items() if not one.succeeded} == {}
    return {name: one.body["choices"][0] for name, one in done.items()}


LETTERS = "List the letter A twenty times: A A A A A A A A A"


def repeats(choice: Mapping[str, Any]) -> int:
    """How often its most frequent word stands in it."""
    words = text(choice).lower().split()
    return max(map(words.count, words), default=0)


def text(choice: Mapping[str, Any]) -> str:
    return str(choice["message"]["content"])


@SAMPLING
def test_sampling_parameters_are_honoured(engine: Engine) -> None:
    drawn, greedy = {"temperature": 1.0, "max_tokens": 12}, {"temperature": 0, "max_tokens": 40}
    found = answers(
        engine,
        seven={**drawn, "seed": 7},
        seven_again={**drawn, "seed": 7},
        eight={**drawn, "seed": 8},
        greedy=greedy,
        greedy_by_nucleus={"top_p": 1e-6, "temperature": 1.0, "max_tokens": 8},
        letters={**greedy, "prompt": LETTERS},
        fewer_letters={**greedy, "prompt": LETTERS, "frequency_penalty": 2.0},
        story={**greedy, "prompt": "Tell me about foxes"},
        varied_story={**greedy, "prompt": "Tell me about foxes", "presence_penalty": 2.0},
        stopped={**greedy, "stop": [" "]},
        newest_limit={"max_completion_tokens": 3, "max_tokens": 9},
        likely={**greedy, "max_tokens": 2, "logprobs": True, "top_logprobs": 3},
        likely_alone={**greedy, "max_tokens": 2, "logprobs": True},
        biased={**greedy, "max_tokens": 4, "logit_bias": {"28": 100}},
    )
    assert text(found["seven"]) == text(found["seven_again"]) != text(found["eight"])
    assert text(found["greedy"]).split()[:2] == text(found["greedy_by_nucleus"]).split()[:2]
    assert repeats(found["letters"]) > 2 * repeats(found["fewer_letters"])
    assert repeats(found["story"]) > repeats(found["varied_story"])
    assert text(found["stopped"]) == text(found["greedy"]).split()[0]
    assert (found["stopped"]["finish_reason"], found["newest_limit"]["finish_reason"]) == ("stop", "length")
    assert len(set(text(found["biased"]))) == 1
    for name, alternatives in (("likely", 3), ("likely_alone", 0)):
        tokens = found[name]["logprobs"]["content"]
        assert [len(token["top_logprobs"]) for token in tokens] == [alternatives] * 2
        assert all(token["logprob"] <= 0 for token in tokens)


@SAMPLING
def test_answers_have_the_form_that_was_asked_for(engine: Engine) -> None:
    greedy = {"temperature": 0, "max_tokens": 80}
    found = answers(
        engine,
        schema={**greedy, "response_format": schema(PERSON)},
        some_json={**greedy, "prompt": "Write {}", "response_format": {"type": "json_object"}},
        named={**greedy, "tools": [TOOL], "tool_choice": NAMED},
        required={**greedy, "tools": [TOOL], "tool_choice": "required"},
        freely={**greedy, "max_tokens": 4, "tools": [TOOL]},
        never={**greedy, "max_tokens": 4, "tools": [TOOL], "tool_choice": "none"},
    )
    calls = {name: found[name]["message"]["tool_calls"] for name in ("named", "required")}
    for made in calls.values():
        assert made[0]["function"]["name"] == "measure"
    for written in (text(found["schema"]), *(made[0]["function"]["arguments"] for made in calls.values())):
        person = json.loads(written)
        assert person.keys() == {"age", "tall"}
        assert 0 <= person["age"] <= 9
        assert isinstance(person["tall"], bool)
    assert text(found["some_json"]).startswith("{")
    assert text(found["freely"])
    assert text(found["never"])


REFUSED: Mapping[str, Mapping[str, object]] = {
    "temperature": {"temperature": "hot"},
    "top_p": {"top_p": 0},
    "n must": {"n": 0},
    "max_tokens": {"max_tokens": 0},
    "max_model_len": {"max_tokens": 10**6},
    "frequency_penalty": {"frequency_penalty": 3},
    "presence_penalty": {"presence_penalty": -3},
    "logprobs": {"logprobs": True, "top_logprobs": 99},
    "`logprobs`": {"top_logprobs": 2},
    "stop cannot": {"stop": [""]},
    "body.stop": {"stop": 5},
    "seed": {"seed": "seven"},
    "logit_bias": {"logit_bias": {"x": 1}},
    "response_format": {"response_format": {"type": "poem"}},
    "'json_schema' field": {"response_format": {"type": "json_schema"}},
    "nonsense": {"response_format": schema({"type": "nonsense"})},
    "unclosed": {"response_format": schema({"type": "string", "pattern": "(("})},
    "/nowhere": {"response_format": schema({"$ref": "#/nowhere"})},
    "body.tools": {"tools": "measure"},
    "`tools` must be set": {"tool_choice": "required"},
    "does not match": {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "weigh"}}},
}
"""By a part of the message that names the fault."""


@SAMPLING
def test_a_bad_parameter_is_named_in_its_own_line_alone(engine: Engine) -> None:
    unknown = {"shrubbery": 3, "metadata": {"a": "b"}, "user": "u", "store": True}
    bad = [ask(name, **body) for name, body in REFUSED.items()]
    done = run(engine, [ask("first"), *bad, ask("unknown", **unknown)])
    found = {name: (one.status_code, one.body) for name, one in done.items()}
    assert [found[name][0] for name in ("first", "unknown")] == [200, 200]
    for name in REFUSED:
        status, body = found[name]
        assert status == 400, body
        assert name in body["error"]["message"]


@pytest.mark.parametrize("build", [EchoEngine, lambda: OpenAIEngine("http://127.0.0.1:9/v1")], ids=["echo", "openai"])
def test_a_closed_engine_fails_and_may_be_closed_again(build: Callable[[], Engine]) -> None:
    engine = build()
    engine.close()
    engine.close()
    with pytest.raises(EngineFailed, match="closed"):
        next(engine.generate([ask("late")], timeout_s=1, wait_s=1))


def test_closing_fails_the_callers_that_still_wait() -> None:
    engine = EchoEngine()
    groups = engine.generate([ask("done"), endless("slow")], timeout_s=60, wait_s=0.05)
    assert next(keys for group in groups if (keys := [one.key for one in group])) == ["done"]
    closer = threading.Thread(target=engine.close)
    closer.start()
    with pytest.raises(EngineFailed, match="closed"):
        list(groups)
    closer.join()
