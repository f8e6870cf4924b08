"""Whatever a client sends, it gets an answer or a refusal, never a failure."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain.batch import BatchStatus
from tests.support.api import Api, error_of
from tests.support.factories import ENDPOINT, chat
from tests.support.services import Desk

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


@fuzz
@given(changes=st.dictionaries(st.sampled_from(["voter", "pair", "choice", "more"]), json_values))
def test_bodies_of_votes(api: Api, changes: dict[str, Any]) -> None:
    body = {"voter": "ada", "pair": f"pair_{'0' * 64}", "choice": "first"} | changes
    content = json.dumps(body).encode()
    served(api, "POST", "/sprout/v1/votes", content=content, headers={"Content-Type": "application/json"})


@fuzz
@given(changes=st.dictionaries(st.sampled_from(["url", "event_types", "name", "more"]), json_values))
def test_bodies_of_webhooks(api: Api, changes: dict[str, Any]) -> None:
    content = json.dumps({"url": "https://a.example/"} | changes).encode()
    served(api, "POST", "/sprout/v1/webhooks", content=content, headers={"Content-Type": "application/json"})


names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40) | st.sampled_from(["\0", "a\0", "../x", "%00"])


@fuzz
@given(name=names, value=names)
def test_paths_and_queries(api: Api, name: str, value: str) -> None:
    name, value = quote(name, safe=""), quote(value, safe="")
    for path in (
        f"/v1/files/{name}",
        f"/v1/files/{name}/content",
        f"/v1/files?purpose={value}&limit={value}",
        f"/v1/files?purpose={value}",
        f"/v1/batches/{name}",
        f"/v1/batches?after={value}",
        f"/v1/batches?limit={value}",
        f"/sprout/v1/votes/next?voter={value}",
        f"/sprout/v1/batches/{name}/report",
        f"/sprout/v1/batches/{name}/results?since={value}",
    ):
        served(api, "GET", path)
    served(api, "DELETE", f"/v1/files/{name}")
    served(api, "POST", f"/v1/batches/{name}/cancel")


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
