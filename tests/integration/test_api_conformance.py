"""Our JSON against every shape of OpenAI's Files and Batches API, field by field: presence, type and null."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.domain.completion import Completion, EngineRequest
from app.ports import Task
from app.services import validation
from tests.support.api import Api
from tests.support.engine import EchoEngine
from tests.support.factories import ENDPOINT, line
from tests.support.openai_server import prompt_of
from tests.support.services import Desk, Desks, jsonl
from tests.support.shapes import differences, recorded

METADATA = {"customer_id": "user_123456789", "batch_description": "Nightly eval job"}


def create(api: Api, content: bytes) -> str:
    body = {
        "input_file_id": api.upload(content),
        "endpoint": ENDPOINT,
        "completion_window": "24h",
        "metadata": METADATA,
    }
    return str(api.post("/v1/batches", json=body)["id"])


def test_a_validating_batch_and_a_list_of_them(api: Api) -> None:
    ids = [create(api, jsonl([line()])) for _ in range(2)]
    assert differences(api.get(f"/v1/batches/{ids[0]}"), recorded("batch_validating.json")) == []
    assert differences(api.get("/v1/batches"), recorded("batch_list.json")) == []


def test_a_failed_batch(api: Api, desk: Desk) -> None:
    unnamed = line()
    del unnamed["custom_id"]
    batch_id = create(api, jsonl([unnamed]))
    validation.validate(desk.context, batch_id)
    assert differences(api.get(f"/v1/batches/{batch_id}"), recorded("batch_failed.json")) == []


def test_a_batch_that_is_cancelled_while_it_runs(api: Api, desk: Desk, engine: EchoEngine) -> None:
    batch_id = create(api, jsonl(line(f"r{number}") for number in range(300)))
    validation.validate(desk.context, batch_id)
    desk.run_beside_others(desk.worker(engine), desk.dispatcher.arguments(Task.GENERATE)[0])
    cancelled = api.post(f"/v1/batches/{batch_id}/cancel")
    assert cancelled["request_counts"]["completed"] > 0
    assert differences(cancelled, recorded("batch_cancelling.json")) == []


def refuse_heat(request: EngineRequest) -> Completion | None:
    if prompt_of(request.body) != "hot":
        return None
    error = {"message": "Too hot.", "type": "invalid_request_error", "param": "temperature", "code": None}
    return Completion(key=request.key, status_code=400, body={"error": error})


def test_a_completed_batch_and_its_files(api: Api, desk: Desk) -> None:
    batch_id = create(api, jsonl([line("request-2"), line("request-4", text="hot")]))
    desk.work(desk.worker(EchoEngine(refuse_heat)))
    batch = api.get(f"/v1/batches/{batch_id}")
    assert differences(batch, recorded("batch_completed.json")) == []
    (answer,) = desk.lines(batch["output_file_id"])
    (refusal,) = desk.lines(batch["error_file_id"])
    # What a model server says beyond a chat completion's least is its own.
    assert differences(answer, recorded("output.jsonl")[0], free={".response.body"}) == []
    assert differences(refusal, recorded("error.jsonl")[1]) == []


def test_the_error_of_a_line_that_never_ran(api: Api, desk: Desk, engine: EchoEngine) -> None:
    batch_id = create(api, jsonl([line("request-3")]))
    validation.validate(desk.context, batch_id)
    api.post(f"/v1/batches/{batch_id}/cancel")
    desk.work(desk.worker(engine))
    batch = api.get(f"/v1/batches/{batch_id}")
    assert batch["status"] == "cancelled"
    (error,) = desk.lines(batch["error_file_id"])
    assert differences(error, recorded("error.jsonl")[0]) == []


def test_a_recorded_input_is_taken(desks: Desks) -> None:
    desk = desks.desk(model_name="m")
    batch = desk.validated(jsonl(recorded("input.jsonl")))
    assert (batch.status, batch.total, batch.errors) == ("in_progress", 1, None)


def test_files(api: Api) -> None:
    form = {"purpose": "batch", "expires_after[anchor]": "created_at", "expires_after[seconds]": "86400"}
    sent = [api.post("/v1/files", data=form, files={"file": ("batch.jsonl", b"1")}) for _ in range(2)]
    listed = api.get("/v1/files")
    for file in (*sent, *listed["data"], api.get(f"/v1/files/{sent[0]['id']}")):
        assert differences(file, recorded("file.json")) == []
    assert differences(listed, recorded("file_list.json")) == []
    deleted = api("DELETE", f"/v1/files/{sent[0]['id']}").json()
    assert differences(deleted, recorded("file_deleted.json")) == []


def test_an_error(api: Api) -> None:
    body = {"input_file_id": api.upload(b"1"), "endpoint": ENDPOINT, "completion_window": "5m"}
    response = api("POST", "/v1/batches", json=body)
    assert response.status_code == 400
    assert differences(response.json(), recorded("http_error_400.json")) == []


@pytest.mark.parametrize(
    ("ours", "theirs", "found"),
    [
        ('{"a": 1}', '{"a": 2}', []),
        ('{"a": 1, "sprout": {"b": 2}}', '{"a": 2}', []),
        ('{"a": 1, "b": 2}', '{"a": 2}', [".b is not among OpenAI's"]),
        ('{"a": 1}', '{"a": 2, "b": null}', [".b is missing"]),
        ('{"a": null}', '{"a": 2}', [".a is null where OpenAI's is an integer"]),
        ('{"a": 0}', '{"a": null}', [".a is an integer where OpenAI's is null"]),
        ('{"a": true}', '{"a": 1}', [".a is a boolean where OpenAI's is an integer"]),
        ('{"a": 1.0}', '{"a": 1}', [".a is a number where OpenAI's is an integer"]),
        ('{"a": [{"b": 1}, {"c": "x"}]}', '{"a": [{"b": 2}]}', [".a[1].b is missing", ".a[1].c is not among OpenAI's"]),
        ('{"free": {"a": 1, "b": 2}}', '{"free": {"a": "x"}}', [".free.a is an integer where OpenAI's is a text"]),
        ("[]", "{}", ["the whole is a list where OpenAI's is an object"]),
    ],
)
def test_the_comparison_finds_every_difference(ours: str, theirs: str, found: list[Any]) -> None:
    assert differences(json.loads(ours), json.loads(theirs), free={".free"}) == found
