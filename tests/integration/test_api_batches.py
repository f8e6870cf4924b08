from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from app.ports import Task
from app.services import validation
from tests.support.api import Api, error_of
from tests.support.clock import NOON
from tests.support.engine import EchoEngine
from tests.support.factories import ENDPOINT, line
from tests.support.services import Desk, jsonl
from tests.support.waiting import eventually

BATCH_KEYS = {
    "id", "object", "endpoint", "model", "errors", "input_file_id", "completion_window", "status", "output_file_id",
    "error_file_id", "created_at", "in_progress_at", "expires_at", "finalizing_at", "completed_at", "failed_at",
    "expired_at", "cancelling_at", "cancelled_at", "request_counts", "usage", "metadata",
    "sprout",
}  # fmt: skip
START = int(NOON.timestamp())


def body(file_id: str, **changes: Any) -> dict[str, Any]:
    return {"input_file_id": file_id, "endpoint": ENDPOINT, "completion_window": "24h", **changes}


def create(api: Api, content: bytes, **changes: Any) -> dict[str, Any]:
    created: dict[str, Any] = api.post("/v1/batches", json=body(api.upload(content), **changes))
    return created


def test_a_new_batch_has_the_recorded_shape(api: Api) -> None:
    created = create(api, b"1", metadata={"customer_id": "7"})
    assert set(created) == BATCH_KEYS
    assert created["id"].startswith("batch_")
    sprout = {name: value for name, value in created.pop("sprout").items() if value is not None}
    assert sprout == {"schedule": "asap", "priority": 0, "paused": False}
    assert {name: value for name, value in created.items() if value is not None and not name.endswith("id")} == {
        "object": "batch",
        "endpoint": ENDPOINT,
        "completion_window": "24h",
        "status": "validating",
        "created_at": START,
        "request_counts": {"total": 0, "completed": 0, "failed": 0},
        "metadata": {"customer_id": "7"},
    }
    assert created.items() <= api.get(f"/v1/batches/{created['id']}").items()


def test_a_failed_batch_has_the_recorded_shape(api: Api, desk: Desk) -> None:
    created = create(api, b"{")
    validation.validate(desk.context, created["id"])
    failed = api.get(f"/v1/batches/{created['id']}")
    assert set(failed) == BATCH_KEYS
    assert (failed["status"], failed["failed_at"]) == ("failed", START)
    assert set(failed["errors"]) == {"object", "data"}
    assert failed["errors"]["object"] == "list"
    assert [set(fault) for fault in failed["errors"]["data"]] == [{"code", "message", "param", "line"}]


def test_a_completed_batch_has_the_recorded_shape(api: Api, desk: Desk, engine: EchoEngine) -> None:
    created = create(api, jsonl([line("a"), line("b", text="[refuse]")]))
    desk.clock.advance(seconds=10)
    desk.work(desk.worker(engine))
    ended = api.get(f"/v1/batches/{created['id']}")
    assert set(ended) == BATCH_KEYS
    assert ended["request_counts"] == {"total": 2, "completed": 1, "failed": 1}
    assert (ended["status"], ended["model"], ended["errors"]) == ("completed", "test-model", None)
    assert [ended[name] for name in ("in_progress_at", "finalizing_at", "completed_at")] == [START + 10] * 3
    assert set(ended["usage"]) == {
        "input_tokens", "input_tokens_details", "output_tokens", "output_tokens_details", "total_tokens",
    }  # fmt: skip
    for file_id, custom_id in ((ended["output_file_id"], "a"), (ended["error_file_id"], "b")):
        (answer,) = desk.lines(file_id)
        assert {"id", "custom_id", "response", "error"} <= set(answer)
        assert answer["custom_id"] == custom_id
        assert api.get(f"/v1/files/{file_id}")["purpose"] == "batch_output"
        assert api("GET", f"/v1/files/{file_id}/content").json() == answer


def test_progress_shows_while_a_batch_runs(api: Api, desk: Desk, engine: EchoEngine) -> None:
    created = create(api, jsonl(line(f"r{number}") for number in range(300)))
    validation.validate(desk.context, created["id"])
    desk.run_beside_others(desk.worker(engine), desk.dispatcher.arguments(Task.GENERATE)[0])
    found = api.get(f"/v1/batches/{created['id']}")
    assert (found["status"], found["request_counts"]) == (
        "in_progress",
        {"total": 300, "completed": 128, "failed": 0},
    )


def test_a_batch_can_be_cancelled_once_and_again(api: Api) -> None:
    created = create(api, jsonl([line()]))
    for _ in range(2):
        cancelled = api.post(f"/v1/batches/{created['id']}/cancel")
        assert set(cancelled) == BATCH_KEYS
        assert (cancelled["status"], cancelled["cancelling_at"]) == ("cancelling", START)


def test_an_ended_batch_cannot_be_cancelled(api: Api, desk: Desk) -> None:
    created = create(api, b"{")
    validation.validate(desk.context, created["id"])
    error = error_of(api("POST", f"/v1/batches/{created['id']}/cancel"), 400)
    assert "is failed and can no longer be cancelled" in error["message"]


def test_pages_follow_each_other(api: Api, desk: Desk) -> None:
    ids = []
    for _ in range(5):
        ids.append(create(api, b"1")["id"])
        desk.clock.advance(seconds=1)
    seen, after, pages = [], "", 0
    while True:
        page = api.get(f"/v1/batches?limit=2{after}")
        assert set(page) == {"object", "data", "first_id", "last_id", "has_more"}
        assert (page["first_id"], page["last_id"]) == (page["data"][0]["id"], page["data"][-1]["id"])
        seen += [batch["id"] for batch in page["data"]]
        pages += 1
        if not page["has_more"]:
            break
        after = f"&after={page['last_id']}"
    assert seen == ids[::-1]
    assert pages == 3
    assert len(api.get("/v1/batches")["data"]) == 5


def test_no_batches_yet(api: Api) -> None:
    assert api.get("/v1/batches") == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"completion_window": "5m"}, "completion_window"),
        ({"completion_window": None}, "completion_window"),
        ({"completion_window": 24}, "completion_window"),
        ({"endpoint": "/v1/nothing"}, "endpoint"),
        ({"endpoint": ""}, "endpoint"),
        ({"metadata": {f"k{number}": "v" for number in range(17)}}, "metadata"),
        ({"metadata": {"k" * 65: "v"}}, f"metadata.{'k' * 64}"),
        ({"metadata": {"a": "b", "k": "v" * 513}}, "metadata.k"),
        ({"metadata": {"k": "\0"}}, "metadata.k"),
        ({"metadata": {"k": 1}}, "metadata.k"),
        ({"metadata": "text"}, "metadata"),
        ({"metadata": {"sprout_level": "L5"}}, "metadata.sprout_level"),
        ({"metadata": {"sprout_priority": "11"}}, "metadata.sprout_priority"),
        ({"metadata": {"sprout_priority": "1.0"}}, "metadata.sprout_priority"),
        ({"input_file_id": 7}, "input_file_id"),
    ],
)
def test_what_a_batch_cannot_be(api: Api, changes: dict[str, Any], param: str) -> None:
    error = error_of(api("POST", "/v1/batches", json=body(api.upload(b"1"), **changes)), 400)
    assert error["param"] == param
    assert api.get("/v1/batches")["data"] == []


def test_openai_s_own_words_for_a_wrong_window(api: Api) -> None:
    error = error_of(api("POST", "/v1/batches", json=body(api.upload(b"1"), completion_window="5m")), 400)
    assert error["message"].startswith("Invalid value: '5m'. Supported values are")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe"])
def test_a_body_that_is_no_json_object(api: Api, content: bytes) -> None:
    error = error_of(api("POST", "/v1/batches", content=content, headers={"Content-Type": "application/json"}), 400)
    assert "None" not in error["message"]
    assert not (error["param"] or "").isdigit()


def test_a_batch_without_its_file(api: Api) -> None:
    assert "file-none" in error_of(api("POST", "/v1/batches", json=body("file-none")), 404)["message"]


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("POST", "/cancel")])
def test_an_unknown_batch(api: Api, method: str, path: str) -> None:
    assert "batch_none" in error_of(api(method, f"/v1/batches/batch_none{path}"), 404)["message"]


def test_a_page_after_an_unknown_batch(api: Api) -> None:
    error_of(api("GET", "/v1/batches?after=batch_none"), 404)


@pytest.mark.parametrize("limit", ["0", "101", "-1", "x", "1.5"])
def test_a_limit_out_of_range(api: Api, limit: str) -> None:
    assert error_of(api("GET", f"/v1/batches?limit={limit}"), 400)["param"] == "limit"


def test_the_model_that_is_served(api: Api) -> None:
    assert api.get("/v1/models") == {
        "object": "list",
        "data": [{"id": "test-model", "object": "model", "created": 0, "owned_by": "sprout"}],
    }


@pytest.mark.parametrize("name", ["gpt-4", "test-model/x", "%00", "test-model%2Fx", "x" * 500])
def test_a_model_that_nobody_serves(api: Api, name: str) -> None:
    response = api("GET", f"/v1/models/{name}")
    fault = error_of(response, response.status_code)
    assert response.status_code == (400 if name == "%00" else 404)
    if response.status_code == 404:
        assert (fault["type"], fault["param"], fault["code"]) == ("invalid_request_error", "model", "model_not_found")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/nothing", 404), ("GET", "/", 404), ("PUT", "/v1/batches", 405), ("POST", "/v1/models", 405)],
)
def test_an_unknown_endpoint(api: Api, method: str, path: str, status: int) -> None:
    fault = error_of(api(method, path), status)
    assert fault["message"] == f"There is no {method} {path}: GET /openapi.json describes all that there is."


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
def test_a_single_request_is_told_of_batches(api: Api, path: str) -> None:
    assert "create a batch of it with POST /v1/batches" in error_of(api("POST", path), 404)["message"]


def test_who_waits_for_a_batch_is_told_of_its_end(api: Api, desk: Desk) -> None:
    batch = desk.validated(jsonl([line()]))
    path = f"/sprout/v1/batches/{batch.id}/wait"
    assert api.get(f"{path}?within_s=0")["status"] == "in_progress"
    with ThreadPoolExecutor() as pool:
        waiting = [pool.submit(api.get, f"{path}?within_s=15") for _ in range(3)]
        # Whoever has begun to wait listens; what ended before would be seen at once.
        eventually(lambda: desk.rows("SELECT 1 FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"))
        started = time.monotonic()
        desk.work(desk.worker(EchoEngine()))
        assert {each.result()["status"] for each in waiting} == {"completed"}
        assert time.monotonic() - started < 10
    assert api.get(f"{path}?within_s=15")["status"] == "completed"


def test_waiting_for_a_batch_that_is_not_there(api: Api) -> None:
    assert error_of(api("GET", "/sprout/v1/batches/batch_0/wait"), 404)
