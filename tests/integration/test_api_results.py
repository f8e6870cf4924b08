"""Results of a batch as they come, over HTTP."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from app.api import control
from app.services import batches, live_results
from app.store.batches import Batch
from app.store.database import TENANT
from tests.support.api import Api, error_of
from tests.support.engine import EchoEngine
from tests.support.factories import a_result, line, store_batch, store_results
from tests.support.services import Desk, jsonl
from tests.support.waiting import eventually


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_results, "PAGE", 2)


def record(desk: Desk, batch: Batch, *lines: int) -> None:
    with desk.context.database.transaction() as connection:
        store_results(connection, batch, [a_result(batch, number) for number in lines])


def read(api: Api, batch_id: str, query: str = "") -> list[dict[str, Any]]:
    response = api("GET", f"/v1/batches/{batch_id}/results{query}")
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("application/x-ndjson")
    return [json.loads(text) for text in response.text.splitlines()]


def in_order(api: Api, batch_id: str) -> list[dict[str, Any]]:
    """Without the cursor, which is nothing of the line itself."""
    found = read(api, batch_id)
    for entry in found:
        del entry["sprout"]["cursor"]
    return found


@pytest.mark.usefixtures("small_pages")
def test_results_are_read_as_they_come_and_once(api: Api, desk: Desk) -> None:
    with desk.context.database.transaction() as connection:
        batch = store_batch(connection, lines=7)
    assert read(api, batch.id) == []
    record(desk, batch, 6, 2, 5)
    record(desk, batch, 1)
    first = read(api, batch.id)
    assert [entry["custom_id"] for entry in first] == [f"request-{number}" for number in (2, 5, 6, 1)]
    assert set(first[0]) == {"id", "custom_id", "response", "error", "sprout"}
    assert read(api, batch.id, "?limit=3") == first[:3]
    record(desk, batch, 7)
    for number, entry in enumerate(first, start=1):
        rest = read(api, batch.id, f"?after={entry['sprout']['cursor']}")
        assert [found["custom_id"] for found in rest] == [e["custom_id"] for e in first[number:]] + ["request-7"]


def test_they_are_the_lines_of_the_output_and_error_files(api: Api, desk: Desk, engine: EchoEngine) -> None:
    batch = desk.validated(jsonl([line("a"), line("b", text="[refuse]"), line("c")]))
    desk.work(desk.worker(engine))
    ended = desk.batch(batch.id)
    in_files = [*desk.lines(ended.output_file_id), *desk.lines(ended.error_file_id)]
    assert sorted(in_order(api, batch.id), key=lambda e: str(e["id"])) == sorted(in_files, key=lambda e: e["id"])


@pytest.mark.usefixtures("small_pages")
def test_who_follows_is_told_until_the_end(api: Api, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    # What comes meanwhile is seen by looking, the end is told.
    monkeypatch.setattr(control, "LOOK_S", 0.05)
    batch = desk.validated(jsonl(line(f"request-{number}") for number in range(1, 4)))
    record(desk, batch, 2)
    seen: list[str] = []

    async def follow() -> None:
        context = desk.context
        first = live_results.page(context, TENANT, batch.id, after=live_results.START, limit=10)
        lines = control._lines(context, TENANT, batch.id, api.app.state.endings, first, None)
        async for chunk in lines:
            seen.extend(json.loads(text)["custom_id"] for text in chunk.splitlines())

    with ThreadPoolExecutor() as pool:
        following = pool.submit(asyncio.run, follow())
        eventually(lambda: seen == ["request-2"])
        record(desk, batch, 3)
        eventually(lambda: seen == ["request-2", "request-3"])
        monkeypatch.setattr(control, "LOOK_S", 60.0)
        desk.work(desk.worker(EchoEngine()))
        following.result(timeout=10)
    assert seen == ["request-2", "request-3", "request-1"]
    assert [e["custom_id"] for e in read(api, batch.id, "?follow=true&after=1.2")] == ["request-3", "request-1"]
    assert [e["custom_id"] for e in read(api, batch.id, "?follow=true&limit=1")] == ["request-2"]


@pytest.mark.usefixtures("small_pages")
def test_what_was_rejected_comes_first(api: Api, desk: Desk, engine: EchoEngine) -> None:
    content = jsonl([line("a"), line("x", stream=True), line("b"), line("y", stream=True), line("z", stream=True)])
    batch = desk.validated(content)
    assert [entry["custom_id"] for entry in read(api, batch.id)] == ["x", "y", "z"]
    desk.work(desk.worker(engine))
    everything = read(api, batch.id)
    assert [entry["custom_id"] for entry in everything] == ["x", "y", "z", "a", "b"]
    for number, entry in enumerate(everything, start=1):
        assert read(api, batch.id, f"?after={entry['sprout']['cursor']}") == everything[number:]
        assert read(api, batch.id, f"?limit={number}") == everything[:number]
    ended = desk.batch(batch.id)
    assert in_order(api, batch.id) == [*desk.lines(ended.error_file_id), *desk.lines(ended.output_file_id)]
    retried = error_of(api("POST", f"/v1/batches/{batch.id}/retry"), 400)["message"]
    assert "nothing to retry; the 3 that validation rejected cannot succeed" in retried


def test_a_cancelled_batch_tells_of_what_was_not_run(api: Api, desk: Desk) -> None:
    batch = desk.validated(jsonl([line("a")]))
    batches.cancel(desk.context, TENANT, batch.id)
    desk.work(desk.worker(EchoEngine()))
    (found,) = read(api, batch.id, "?follow=true")
    assert found["error"]["code"] == "batch_cancelled"
    assert (found["sprout"]["l0_footprint_g"], found["sprout"]["pricing"]) == (None, None)


@pytest.mark.parametrize(
    "query", ["after=x", "after=-1", "after=1e3", "after=", "after=1", "after=1.2.3", "after=%00", "limit=0"]
)
def test_what_cannot_be_asked_for(api: Api, desk: Desk, query: str) -> None:
    batch_id = desk.submit(jsonl([line()]))
    assert error_of(api("GET", f"/v1/batches/{batch_id}/results?{query}"), 400)["param"] == query.partition("=")[0]


def test_of_another_tenant_s_batch_nothing_is_known(api: Api, desk: Desk) -> None:
    with desk.context.database.transaction() as connection:
        foreign = store_batch(connection, lines=1, tenant_id="somebody")
    for method, what in (("GET", "results"), ("POST", "retry"), ("POST", "pause"), ("POST", "resume")):
        message = error_of(api(method, f"/v1/batches/{foreign.id}/{what}"), 404)["message"]
        assert message == f"There is no batch '{foreign.id}'."
    assert desk.rows("SELECT count(*) FROM batches WHERE paused_at IS NOT NULL OR retry_of IS NOT NULL") == [0]
