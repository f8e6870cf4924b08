"""What a user does with batches, over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from app.services import batches
from app.store.database import TENANT
from tests.support.api import Api, error_of
from tests.support.engine import EchoEngine
from tests.support.factories import ENDPOINT, line
from tests.support.services import Desk, jsonl


def body(file_id: str, **changes: Any) -> dict[str, Any]:
    return {"input_file_id": file_id, "endpoint": ENDPOINT, "completion_window": "24h", **changes}


def test_the_same_key_gives_the_same_batch(api: Api) -> None:
    headers = {"Idempotency-Key": "c0ffee"}
    asked = body(api.upload(jsonl([line()])), metadata={"a": "1", "b": "2"})
    first = api.post("/v1/batches", json=asked, headers=headers)
    again = {**dict(reversed(asked.items())), "metadata": {"b": "2", "a": "1"}}
    assert api.post("/v1/batches", json=again, headers=headers) == first
    error = error_of(api("POST", "/v1/batches", json={**asked, "completion_window": "2h"}, headers=headers), 400)
    assert (error["code"], error["param"]) == ("idempotency_error", "Idempotency-Key")
    assert first["id"] in error["message"]
    assert api.post("/v1/batches", json=asked)["id"] != first["id"]


@pytest.mark.parametrize("key", [b"", b"x" * 256, b"gr\xfc\xdfe", b"a\tb"])
def test_a_key_that_cannot_be_used(api: Api, key: bytes) -> None:
    asked = body(api.upload(jsonl([line()])))
    error = error_of(api("POST", "/v1/batches", json=asked, headers={b"Idempotency-Key": key}), 400)
    assert (error["code"], error["param"]) == ("idempotency_error", "Idempotency-Key")


def test_pause_says_so_and_resume_takes_it_back(api: Api, desk: Desk) -> None:
    batch = desk.validated(jsonl([line()]))
    path = f"/v1/batches/{batch.id}"
    paused = api.post(f"{path}/pause", json={"reason": "Backups run."})
    assert (paused["status"], paused["sprout"]["paused"]) == ("in_progress", True)
    assert "(Backups run.)" in paused["sprout"]["reason"]
    assert "its completion window goes on" in paused["sprout"]["reason"]
    assert api.post(f"{path}/pause") == paused == api.get(path)
    assert api.post(f"{path}/resume")["sprout"]["paused"] is False
    for reason in ("", "x" * 513, "\0", 7, None):
        assert error_of(api("POST", f"{path}/pause", json={"reason": reason}), 400)["param"] == "reason"
    batches.cancel(desk.context, TENANT, batch.id)
    assert "cancelling and can no longer be paused" in error_of(api("POST", f"{path}/pause"), 400)["message"]


def test_a_retry_says_what_it_runs_and_what_not(api: Api, desk: Desk, engine: EchoEngine) -> None:
    batch = desk.validated(jsonl([line("a"), line("b", text="[refuse]")]))
    desk.work(desk.worker(engine))
    retry = api.post(f"/v1/batches/{batch.id}/retry")
    assert (retry["status"], retry["sprout"]["retry_of"]) == ("in_progress", batch.id)
    assert retry["sprout"]["note"] == f"1 lines of batch '{batch.id}' are run again; 1 have an answer and are not."
    assert set(retry) == set(api.get(f"/v1/batches/{batch.id}"))
    again = api.post(f"/v1/batches/{batch.id}/retry")
    assert again["id"] == retry["id"]
    desk.work(desk.worker(engine))
    api.post(f"/v1/batches/{retry['id']}/retry")
    error_of(api("POST", "/v1/batches/batch_none/retry"), 404)
