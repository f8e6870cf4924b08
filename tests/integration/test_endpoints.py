"""Batches of every endpoint, from the input file to the output file, with an engine that echoes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from app.domain.batch import BatchStatus
from app.domain.endpoints import ENDPOINTS, GENERATING
from app.services import deployment, directives
from app.store import requests
from app.store.database import TENANT
from tests.support.api import Api, error_of
from tests.support.engine import EchoEngine
from tests.support.factories import MODEL
from tests.support.grid import ScriptedProvider
from tests.support.judge import ScriptedJudge
from tests.support.rounds import HOURS, ended
from tests.support.services import Desk, Desks, ScriptedMeter, jsonl

L1 = "Always answer briefly"


def lines(endpoint: str, bodies: Sequence[Mapping[str, Any]]) -> bytes:
    common = {"method": "POST", "url": endpoint}
    return jsonl(
        {**common, "custom_id": f"r{number}", "body": {"model": MODEL, **body}} for number, body in enumerate(bodies)
    )


def run(desk: Desk, engine: EchoEngine, endpoint: str, *bodies: Mapping[str, Any], level: str = "L1") -> dict[str, Any]:
    """The batch as the API shows it, created there and run to its end."""
    api = Api(desk.context)
    created = api.post(
        "/v1/batches",
        json={
            "input_file_id": api.upload(lines(endpoint, bodies)),
            "endpoint": endpoint,
            "completion_window": "24h",
            "metadata": {"sprout_level": level},
        },
    )
    assert created["endpoint"] == endpoint
    desk.work(desk.worker(engine))
    ended: dict[str, Any] = api.get(f"/v1/batches/{created['id']}")
    assert (ended["status"], ended["errors"]) == ("completed", None)
    return ended


def answers(desk: Desk, batch: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return [line["response"]["body"] for line in desk.lines(batch["output_file_id"])]


def tokens(batch: Mapping[str, Any]) -> tuple[int, int, int]:
    usage = batch["usage"]
    return usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]


def test_text_completions(desk: Desk, engine: EchoEngine) -> None:
    bodies: list[dict[str, Any]] = [
        {"prompt": "Once upon a time"},
        {"prompt": ["one", "two words"], "n": 2},
        {"prompt": [3, 4, 5], "max_tokens": 2},
        {"prompt": "repeated", "echo": True},
    ]
    ended = run(desk, engine, "/v1/completions", *bodies)
    asked = {str(request.body["prompt"]): request.body for request in engine.requests}
    assert set(asked) == {f"Once upon a time\n\n{L1}", "['one', 'two words']", "[3, 4, 5]", "repeated"}
    found = answers(desk, ended)
    assert {body["object"] for body in found} == {"text_completion"}
    assert [choice["text"] for choice in found[1]["choices"]] == ["one", "one", "two words", "two words"]
    assert tokens(ended) == (7 + 3 + 3 + 1, 7 + 6 + 2 + 1, 14 + 16)
    sprout = [line["sprout"] for line in desk.lines(ended["output_file_id"])]
    assert [(each["level"], each["workload"]) for each in sprout] == [
        ("L1", "completions"), ("L0", "completions"), ("L0", "completions"), ("L0", "completions")
    ]  # fmt: skip


def test_responses(desks: Desks, engine: EchoEngine) -> None:
    desk = desks.desk(placement="system")
    said = [{"role": "user", "content": [{"type": "input_text", "text": "Why is that?"}]}]
    bodies: list[dict[str, Any]] = [
        {"input": "Say hello"},
        {"input": said, "instructions": "Be kind.", "max_output_tokens": 2},
        {"input": "As JSON", "text": {"format": {"type": "json_object"}}, "metadata": {"sprout_level": "auto"}},
    ]
    ended = run(desk, engine, "/v1/responses", *bodies)
    given = {str(request.body["input"]): request.body.get("instructions") for request in engine.requests}
    assert given == {"Say hello": L1, str(said): f"Be kind.\n\n{L1}", "As JSON": None}
    found = answers(desk, ended)
    assert {body["object"] for body in found} == {"response"}
    assert [ENDPOINTS["/v1/responses"].answer(body) for body in found] == ["Say hello", "Why is", "As JSON"]
    usages = [body["usage"] for body in found]
    spent = [sum(usage[name] for usage in usages) for name in ("input_tokens", "output_tokens", "total_tokens")]
    assert tokens(ended) == tuple(spent)
    assert (usages[0]["input_tokens"], spent[1]) == (5, 6)


def test_embeddings_have_no_level_whatever_is_asked_for(desk: Desk, engine: EchoEngine) -> None:
    bodies: list[dict[str, Any]] = [{"input": "Say hello"}, {"input": ["one", "two words"]}, {"input": [[1, 2], [3]]}]
    ended = run(desk, engine, "/v1/embeddings", *bodies, level="L2")
    assert all("Always" not in str(request.body) for request in engine.requests)
    found = answers(desk, ended)
    assert [[item["embedding"] for item in body["data"]] for body in found][:2] == [[[9, 2]], [[3, 1], [9, 2]]]
    assert tokens(ended) == (2 + 3 + 3, 0, 8)
    with desk.context.database.transaction() as connection:
        assert requests.count_answered(connection, TENANT, MODEL, 10) == 0, "there is nothing to class in them"
    for line in desk.lines(ended["output_file_id"]):
        sprout = line["sprout"]
        assert (sprout["level"], sprout["pinned"], sprout["workload"]) == ("L0", True, "embeddings")


@pytest.mark.parametrize(
    ("endpoint", "name", "fits"),
    [("/v1/completions", "prompt", 7), ("/v1/responses", "input", 4), ("/v1/embeddings", "input", 8)],
)
def test_a_prompt_that_is_longer_than_the_context(desks: Desks, endpoint: str, name: str, fits: int) -> None:
    """The tests' tokenizer counts words, and three more for a chat with one message."""
    desk = desks.desk(max_context=8)
    for words, status in ((fits, BatchStatus.IN_PROGRESS), (fits + 1, BatchStatus.FAILED)):
        batch = desk.validated(lines(endpoint, [{name: "word " * words}]), endpoint=endpoint)
        assert batch.status is status
    assert batch.errors is not None
    (fault,) = batch.errors
    assert (fault["code"], fault["param"], fault["line"]) == ("context_length_exceeded", name, 1)
    assert (
        f"the model's context is 8{'' if endpoint.endswith('embeddings') else ', answer included'}: "
        in (fault["message"])
    )


def test_what_may_be_cut_may_be_longer_than_the_context(desks: Desks) -> None:
    desk, text = desks.desk(max_context=8), "word " * 9
    for endpoint, name, cut, kept in (
        ("/v1/responses", "truncation", "auto", "disabled"),
        ("/v1/embeddings", "truncate_prompt_tokens", -1, None),
    ):
        for value, status in ((cut, BatchStatus.IN_PROGRESS), (kept, BatchStatus.FAILED)):
            batch = desk.validated(lines(endpoint, [{"input": text, name: value}]), endpoint=endpoint)
            assert batch.status is status


def test_of_several_texts_each_has_the_whole_context(desks: Desks) -> None:
    desk = desks.desk(max_context=8)
    bodies: list[dict[str, Any]] = [{"prompt": ["word " * 7] * 3}, {"prompt": [[1] * 7] * 2}]
    batch = desk.validated(lines("/v1/completions", bodies), endpoint="/v1/completions")
    assert batch.status is BatchStatus.IN_PROGRESS
    bodies = [{"prompt": ["word", "word " * 8]}, {"prompt": [[1], [1] * 8]}, {"prompt": [1] * 8}]
    batch = desk.validated(lines("/v1/completions", bodies), endpoint="/v1/completions")
    assert batch.errors is not None
    assert [fault["line"] for fault in batch.errors] == [1, 2, 3]


def test_an_endpoint_that_no_batch_has_and_a_line_of_another(desk: Desk) -> None:
    api = Api(desk.context)
    file_id = api.upload(lines("/v1/responses", [{"input": "Say hello"}]))
    body = {"input_file_id": file_id, "endpoint": "/v1/moderations", "completion_window": "24h"}
    fault = error_of(api("POST", "/v1/batches", json=body), 400)
    assert (fault["param"], fault["message"]) == (
        "endpoint",
        "Invalid value: '/v1/moderations'. Supported values are: '/v1/chat/completions', '/v1/completions', "
        "'/v1/responses', '/v1/embeddings'.",
    )
    batch = desk.validated(lines("/v1/responses", [{"input": "Say hello"}]), endpoint="/v1/embeddings")
    assert batch.errors is not None
    assert [fault["code"] for fault in batch.errors] == ["mismatched_url"]


def test_a_model_that_gives_no_embeddings_is_known_once_it_is_loaded(desk: Desk) -> None:
    def fate(path: str) -> Sequence[str] | None:
        batch = desk.validated(lines(path, [{"input": "Say hello"}]), endpoint=path)
        return None if batch.errors is None else [str(fault["message"]) for fault in batch.errors]

    assert fate("/v1/embeddings") is None
    deployment.publish(desk.context, "weights")
    assert fate("/v1/embeddings") is None, "nothing is known before it is loaded"
    deployment.publish_endpoints(desk.context, GENERATING)
    deployment.publish(desk.context, "weights")
    assert fate("/v1/responses") is None
    assert fate("/v1/embeddings") == [
        f"The model {MODEL} does not answer /v1/embeddings: it answers /v1/chat/completions, /v1/completions, "
        "/v1/responses. Name another model or endpoint."
    ]
    deployment.publish_endpoints(desk.context, ["/v1/embeddings"])
    assert fate("/v1/embeddings") is None
    assert fate("/v1/responses") is not None
    deployment.publish(desk.context, "other weights")
    assert fate("/v1/responses") is None


def test_answers_are_evaluated_through_their_own_endpoint_and_embeddings_not_at_all(desks: Desks) -> None:
    desk = desks.desk(judge="engine", evaluation_budget=1.0)
    engine, meter, judge = EchoEngine(), ScriptedMeter(), ScriptedJudge()
    worker = desk.worker(engine, meter)
    desk.expect(HOURS)
    for path, name in (("/v1/completions", "prompt"), ("/v1/responses", "input"), ("/v1/embeddings", "input")):
        bodies: list[dict[str, Any]] = [{name: f"Tell me of the number {number}"} for number in range(10)]
        desk.validated(lines(path, bodies), endpoint=path)
    desk.work(worker)
    directives.recompute(desk.context, ScriptedProvider(400.0))
    desk.clock.advance(hours=8)
    desk.expect(HOURS)
    meter.step_j = 0.1
    served = len(engine.requests)
    ended(desk, worker, [judge])
    asked = [(request.endpoint, request.body) for request in engine.requests[served:]]
    assert {endpoint for endpoint, _ in asked} == {"/v1/completions", "/v1/responses"}
    assert all("Always answer" in str(body) and "messages" not in body for _, body in asked)
    assert all(body.get("n") == (1 if endpoint == "/v1/completions" else None) for endpoint, body in asked)
    verdicts = "SELECT workload, outcome FROM verdicts GROUP BY 1, 2 ORDER BY 1"
    assert desk.rows(verdicts) == [("completions", "win"), ("default", "win")]
    assert all(one.question.prompt.startswith("Tell me of the number ") for one in judge.asked)
    assert all(answer.startswith("Tell me of") for one in judge.asked for answer in one.answers)
