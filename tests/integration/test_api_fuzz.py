"""Whatever a client sends, it gets an answer or a refusal, never a failure."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from app.domain.batch import BatchStatus
from app.services import webhooks
from app.store.database import TENANT
from tests.support.api import LOCAL, Api, error_of
from tests.support.engine import EchoEngine
from tests.support.factories import ENDPOINT, MODEL, chat, line
from tests.support.services import Desk, jsonl

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]

fuzz = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

texts = st.text(st.characters(codec=None), max_size=40) | st.sampled_from(["\0", "\ud800", "batch_\0", "a\nb", "💚"])
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=12
)


def served(api: Api, method: str, path: str, **arguments: Any) -> None:
    response = api(method, path, **arguments)
    if response.status_code != 200:
        assert 400 <= response.status_code < 500, response.text
        error_of(response, response.status_code)


@fuzz
@given(
    changes=st.dictionaries(
        st.sampled_from(["input_file_id", "endpoint", "completion_window", "metadata", "more"]), json_values
    )
)
def test_bodies_of_batches(api: Api, changes: dict[str, Any]) -> None:
    known = api.get("/v1/files")["data"]
    file_id = known[0]["id"] if known else api.upload(b"1")
    body = {"input_file_id": file_id, "endpoint": ENDPOINT, "completion_window": "24h"} | changes
    content = json.dumps(body).encode()
    served(api, "POST", "/v1/batches", content=content, headers={"Content-Type": "application/json"})


@fuzz
@given(body=json_values | st.binary(max_size=60))
def test_anything_as_a_body(api: Api, body: Any) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    served(api, "POST", "/v1/batches", content=content, headers={"Content-Type": "application/json"})


names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40) | st.sampled_from(["\0", "a\0", "../x", "%00"])


@pytest.mark.parametrize("mode", GenerationMode)
def test_every_operation_of_the_document(api: Api, desk: Desk, mode: GenerationMode) -> None:
    """With what the OpenAPI document allows and with what it forbids, it answers as the document says."""
    batch_id = desk.submit(jsonl([line()]))
    desk.work(desk.worker(EchoEngine()))
    webhook = webhooks.add(desk.context, TENANT, url="https://a.example/", event_types=["batch.failed"], name="")
    known = {
        "batch_id": batch_id,
        "file_id": str(desk.batch(batch_id).output_file_id),
        "name": MODEL,
        "webhook_id": webhook.id,
    }
    found = [result.ok() for result in schemathesis.openapi.from_dict(api.app.openapi()).get_all_operations()]
    assert {operation.method for operation in found} == {"get", "post", "delete"}

    if mode is GenerationMode.NEGATIVE:
        # Of a path alone, hardly anything is forbidden.
        found = [operation for operation in found if operation.body or operation.query]
    # What is known is deleted last.
    for operation in sorted(found, key=lambda each: each.method == "delete"):

        @settings(fuzz, max_examples=8, derandomize=True)
        @given(case=operation.as_strategy(generation_mode=mode), is_known=st.booleans())
        def check(case: schemathesis.Case, is_known: bool) -> None:
            if is_known:
                case.path_parameters = {name: known.get(name, value) for name, value in case.path_parameters.items()}
            sent = requests.Request(**case.as_transport_kwargs(base_url=LOCAL)).prepare()
            response = api(sent.method, sent.url, content=sent.body or b"", headers=dict(sent.headers))
            case.validate_response(response, checks=CHECKS)
            if response.status_code >= 400:
                error_of(response, response.status_code)

        check()


@pytest.mark.parametrize("name", ["%00", "a%00b", "..%2Fx", "%ED%A0%80", "%FF", "%25", "💚"])
def test_ids_that_nothing_has(api: Api, name: str) -> None:
    for path in (
        f"/v1/files/{name}",
        f"/v1/files/{name}/content",
        f"/v1/files?after={name}",
        f"/v1/batches/{name}",
        f"/v1/batches?after={name}",
        f"/sprout/v1/batches/{name}/report",
        f"/v1/batches/{name}/results?after={name}",
        f"/v1/batches/{name}/results?limit={name}&follow={name}",
    ):
        served(api, "GET", path)
    served(api, "DELETE", f"/v1/files/{name}")
    for action in ("cancel", "pause", "resume", "retry"):
        served(api, "POST", f"/v1/batches/{name}/{action}")


@fuzz
@given(filename=names, purpose=names | st.just("batch"), content=st.binary(max_size=20))
def test_uploads(api: Api, filename: str, purpose: str, content: bytes) -> None:
    served(api, "POST", "/v1/files", data={"purpose": purpose}, files={"file": (filename, content)})


@fuzz
@given(
    changes=st.dictionaries(
        st.sampled_from(["model", "messages", "stream", "metadata", "response_format", "tools", "n"]), json_values
    ),
    outer=st.dictionaries(st.sampled_from(["custom_id", "method", "url", "body"]), json_values, max_size=1),
)
def test_lines_of_input_files(desk: Desk, changes: dict[str, Any], outer: dict[str, Any]) -> None:
    """A line is taken or its fault is told; either way the batch leaves `validating`."""
    entry = {"custom_id": "a", "method": "POST", "url": ENDPOINT, "body": {**chat(), **changes}, **outer}
    batch = desk.validated(json.dumps(entry).encode())
    assert batch.status in (BatchStatus.IN_PROGRESS, BatchStatus.FAILED)
    assert (batch.status is BatchStatus.FAILED) == bool(batch.errors)


@fuzz
@given(content=st.binary(min_size=1, max_size=200))
def test_any_bytes_as_an_input_file(desk: Desk, content: bytes) -> None:
    batch = desk.validated(content)
    assert batch.status is BatchStatus.FAILED
    assert batch.errors
