"""Schedules, plans and releases as programs see them."""

from __future__ import annotations

from typing import Any

import pytest

from app.ports import Task
from app.services import validation
from tests.support.api import Api, error_of
from tests.support.clock import NOON
from tests.support.engine import EchoEngine
from tests.support.factories import line
from tests.support.services import Desk, Desks, jsonl

PLAN_KEYS = {
    "schedule", "zones", "hold", "reason", "waits_for_worker", "held", "waiting_until", "expected_end", "in_time",
    "footprint_g", "footprint_g_interval", "at_once_g", "intensity_basis", "planned_at",
}  # fmt: skip


@pytest.fixture
def desk(desks: Desks) -> Desk:
    desk = desks.desk(shard_size=10)
    desk.measure()
    desk.expect([300.0] * 5 + [50.0] * 2 + [300.0] * 30)
    return desk


def create(api: Api, **metadata: str) -> dict[str, Any]:
    body = {
        "input_file_id": api.upload(jsonl(line(f"r{number}") for number in range(20))),
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "metadata": metadata,
    }
    created: dict[str, Any] = api.post("/v1/batches", json=body)
    return created


def test_a_batch_before_its_plan(api: Api) -> None:
    created = create(api, sprout_schedule="carbon", sprout_zones="any")
    assert set(created["sprout"]) == PLAN_KEYS
    assert {name: value for name, value in created["sprout"].items() if value is not None} == {
        "schedule": "carbon",
        "zones": ["WORLD"],
    }


def test_a_batch_says_how_it_waits_until_it_has_ended(api: Api, desk: Desk, engine: EchoEngine) -> None:
    batch_id = create(api, sprout_schedule="carbon")["id"]
    validation.validate(desk.context, batch_id)
    found = api.get(f"/v1/batches/{batch_id}")
    assert set(found["sprout"]) == PLAN_KEYS
    assert (found["status"], found["sprout"]["held"]) == ("in_progress", 20)
    assert found["sprout"]["waiting_until"] == "2026-03-02T17:00:00+00:00"
    assert found["sprout"]["planned_at"] == NOON.isoformat()
    assert api.get("/v1/batches")["data"] == [found]
    released = api.post(f"/sprout/v1/batches/{batch_id}/release")
    assert (released["id"], released["sprout"]["schedule"], released["sprout"]["held"]) == (batch_id, "asap", 0)
    assert released["sprout"]["waiting_until"] is None
    assert len(desk.dispatcher.arguments(Task.GENERATE)) == 2
    desk.work(desk.worker(engine))
    ended = api.get(f"/v1/batches/{batch_id}")
    assert (ended["status"], ended["sprout"]["reason"], ended["sprout"]["schedule"]) == ("completed", None, "asap")


def test_what_has_ended_is_not_released(api: Api, desk: Desk, engine: EchoEngine) -> None:
    batch_id = create(api)["id"]
    validation.validate(desk.context, batch_id)
    desk.work(desk.worker(engine))
    message = error_of(api("POST", f"/sprout/v1/batches/{batch_id}/release"), 400)["message"]
    assert message == f"Batch '{batch_id}' is completed: there is nothing left to release."


def test_what_is_not_there_is_not_released(api: Api) -> None:
    assert "batch_none" in error_of(api("POST", "/sprout/v1/batches/batch_none/release"), 404)["message"]


@pytest.mark.parametrize(
    ("metadata", "param"),
    [
        ({"sprout_schedule": "later"}, "metadata.sprout_schedule"),
        ({"sprout_schedule": ""}, "metadata.sprout_schedule"),
        ({"sprout_schedule": "Carbon"}, "metadata.sprout_schedule"),
        ({"sprout_zones": "MARS"}, "metadata.sprout_zones"),
        ({"sprout_zones": ""}, "metadata.sprout_zones"),
        ({"sprout_zones": "WORLD,MARS"}, "metadata.sprout_zones"),
    ],
)
def test_wishes_that_cannot_be_met_are_refused(api: Api, desk: Desk, metadata: dict[str, str], param: str) -> None:
    body = {
        "input_file_id": api.upload(jsonl([line()])),
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "metadata": metadata,
    }
    assert error_of(api("POST", "/v1/batches", json=body), 400)["param"] == param
    assert desk.rows("SELECT count(*) FROM batches") == [0]


def test_a_report_says_what_waiting_brought(api: Api, desk: Desk, engine: EchoEngine) -> None:
    batch_id = create(api)["id"]
    validation.validate(desk.context, batch_id)
    desk.work(desk.worker(engine))
    found = api.get(f"/sprout/v1/batches/{batch_id}/report")["hindsight"]
    assert set(found) == {
        "schedule", "planned_g", "actual_g", "share_as_planned", "at_once_g", "cleanest_g", "intensity_basis",
    }  # fmt: skip
    assert (found["schedule"], found["share_as_planned"]) == ("asap", 1.0)
