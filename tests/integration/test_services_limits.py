"""What tenants may use: refused at the door, held while it runs, and let go on."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from app.domain.batch import BatchStatus
from app.domain.errors import LimitExceeded, NotFound
from app.domain.tenant import Limits, next_month
from app.domain.units import hour_of
from app.services import limits, reconciliation, tenants
from app.store import results, usage
from app.store.database import TENANT
from tests.support.api import Api
from tests.support.engine import EchoEngine
from tests.support.factories import ENDPOINT, a_result, chat, line, store_batch
from tests.support.services import Desk, jsonl


def lines(requests: int) -> bytes:
    return jsonl(line(f"r{number}", body=chat(f"Say {number}.")) for number in range(requests))


def limit(desk: Desk, weight: float | None = None, **changes: Any) -> None:
    tenants.change(desk.context.database, desk.clock, TENANT, weight=weight, changes=changes)


def refused(api: Api, desk: Desk) -> tuple[Mapping[str, Any], int | None]:
    """The error of a batch that is created now, and the seconds to wait."""
    body = {"input_file_id": desk.upload(lines(1)).id, "endpoint": ENDPOINT, "completion_window": "24h"}
    answer = api("POST", "/v1/batches", json=body)
    assert answer.status_code == 429, answer.text
    error: Mapping[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    wait = answer.headers.get("Retry-After")
    return error, None if wait is None else int(wait)


def answered(desk: Desk, *, tokens: int = 10, grams: float = 0.0, tenant: str = TENANT) -> None:
    """A request was answered just now."""
    now = desk.clock.now()
    with desk.context.database.transaction() as connection:
        batch = store_batch(connection, lines=1, tenant_id=tenant, status=BatchStatus.COMPLETED, completed_at=now)
        figures = {"prompt_tokens": tokens, "completion_tokens": 0, "operational_g": grams, "embodied_g": 0.0}
        found = [a_result(batch, 1, finished_at=now, tenant_id=tenant, **figures)]
        results.record(connection, found)
        usage.add(connection, tenant, found, now)


def test_batches_an_hour(api: Api, desk: Desk) -> None:
    limit(desk, batches_per_hour=2)
    desk.submit(lines(1))
    desk.clock.advance(minutes=10)
    desk.submit(lines(1))
    error, wait_s = refused(api, desk)
    assert (error["code"], error["type"], wait_s) == ("rate_limit_exceeded", "requests", 50 * 60)
    assert "may create 2 batches an hour and has created 2" in error["message"]
    desk.clock.advance(minutes=50)
    desk.submit(lines(1))
    assert refused(api, desk)[1] == 10 * 60
    limit(desk, batches_per_hour=None)
    desk.submit(lines(1))


def test_callers_at_once_get_no_more_than_one_after_the_other(desk: Desk) -> None:
    limit(desk, batches_per_hour=3)
    content = lines(1)

    def attempt(_: int) -> bool:
        try:
            desk.submit(content)
        except LimitExceeded:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(8))) == 3


def test_requests_queued(api: Api, desk: Desk, engine: EchoEngine) -> None:
    limit(desk, queued_requests=5)
    first = desk.validated(lines(3))
    over = desk.validated(lines(3))
    assert over.status is BatchStatus.FAILED
    [fault] = over.errors or ()
    assert fault["code"] == "request_limit_exceeded"
    assert "may have 5 requests queued and has 3, and this batch has 3" in fault["message"]
    assert desk.rows("SELECT count(*) FROM requests WHERE batch_id = :id", id=over.id) == [0]
    fits = desk.validated(lines(2))
    assert (first.status, fits.status) == (BatchStatus.IN_PROGRESS, BatchStatus.IN_PROGRESS)
    error, wait_s = refused(api, desk)
    assert (error["code"], wait_s) == ("rate_limit_exceeded", None)
    desk.work(desk.worker(engine))
    assert desk.validated(lines(5)).status is BatchStatus.IN_PROGRESS


def test_tokens_a_day_hold_what_runs_until_the_window_moves_on(api: Api, desk: Desk, engine: EchoEngine) -> None:
    desk.clock.advance(minutes=30)
    answered(desk, tokens=60)
    desk.clock.advance(hours=2)
    answered(desk, tokens=50)
    batch = desk.validated(lines(2))
    limit(desk, tokens_per_day=100)
    # 60 of them leave with their hour.
    error, wait_s = refused(api, desk)
    assert (error["code"], error["type"]) == ("insufficient_quota", "insufficient_quota")
    assert "may use 100 tokens a day and has used 110" in error["message"]
    assert "wait until 2026-03-03 12:00 UTC" in error["message"]
    assert wait_s == 21.5 * 3600
    desk.work(desk.worker(engine))
    shown = api.get(f"/v1/batches/{batch.id}")
    assert (shown["status"], shown["request_counts"]["completed"]) == ("in_progress", 0)
    assert shown["sprout"]["hold"] == error["message"]
    assert api.get("/v1/batches")["data"][0]["sprout"]["hold"] == error["message"]
    desk.clock.advance(hours=21, minutes=29)
    reconciliation.reconcile(desk.context)
    assert desk.dispatcher.take_all() == []
    desk.clock.advance(minutes=1)
    reconciliation.reconcile(desk.context)
    assert api.get(f"/v1/batches/{batch.id}")["sprout"]["hold"] is None
    desk.work(desk.worker(engine, name="worker-2"))
    assert desk.batch(batch.id).status is BatchStatus.COMPLETED


def test_a_raised_limit_lets_go_at_once_and_the_tick_holds_who_runs_over(desk: Desk, engine: EchoEngine) -> None:
    limit(desk, tokens_per_day=1)
    first, second = desk.validated(lines(2)), desk.validated(lines(2))
    worker = desk.worker(engine)
    desk.run_beside_others(worker, f"{first.id}:1-2")
    reconciliation.reconcile(desk.context)
    desk.run_beside_others(worker, f"{second.id}:1-2")
    assert desk.rows("SELECT DISTINCT batch_id FROM results") == [first.id]
    limit(desk, tokens_per_day=10_000)
    desk.run_beside_others(worker, f"{second.id}:1-2")
    assert desk.rows("SELECT count(*) FROM results") == [4]


def test_carbon_a_month(api: Api, desk: Desk) -> None:
    desk.clock.moment = datetime(2026, 2, 28, 23, 50, tzinfo=UTC)
    limit(desk, carbon_g_per_month=5.0)
    answered(desk, grams=3.0)
    answered(desk, grams=2.5, tenant="other")
    desk.submit(lines(1))
    answered(desk, grams=2.5)
    error, wait_s = refused(api, desk)
    assert (error["code"], wait_s) == ("insufficient_quota", 600)
    assert (
        "may use 5 gCO2eq a month and has used 5.5 g in this one: wait until 2026-03-01 00:00 UTC" in error["message"]
    )
    desk.clock.advance(minutes=10)
    desk.submit(lines(1))
    limit(desk, carbon_g_per_month=0.0)
    assert refused(api, desk)[1] is None


def test_what_two_workers_answered_counts_once(desk: Desk, engine: EchoEngine) -> None:
    batch = desk.validated(lines(4))
    desk.work(desk.worker(engine))
    [tokens] = desk.rows("SELECT sum(prompt_tokens + completion_tokens) FROM results WHERE batch_id = :id", id=batch.id)
    now = desk.clock.now()
    with desk.context.database.transaction() as connection:
        assert usage.tokens(connection, TENANT, hour_of(now)) == {hour_of(now): tokens}
    assert desk.rows("SELECT tenant_id, requests FROM tenant_shares") == [(TENANT, 4.0)]


def test_shares_fade(desk: Desk) -> None:
    answered(desk)
    desk.clock.advance(seconds=usage.HALF_LIFE_S)
    answered(desk)
    assert desk.rows("SELECT requests FROM tenant_shares") == [1.5]


def test_limits_of_one_tenant_are_not_anothers(desk: Desk) -> None:
    tenants.add(desk.context.database, desk.clock, "other", weight=1.0, allowed=Limits(batches_per_hour=0))
    desk.submit(lines(1))
    with pytest.raises(LimitExceeded, match="'other' may create 0 batches"), desk.context.database.transaction() as c:
        limits.check(c, "other", desk.clock.now())
    with pytest.raises(NotFound):
        tenants.change(desk.context.database, desk.clock, "nobody", weight=2.0, changes={})
    standing = {each.tenant.name: each.batches_per_hour for each in tenants.listed(desk.context.database, desk.clock)}
    assert standing == {TENANT: 1, "other": 0}


@pytest.mark.parametrize(("moment", "expected"), [((2026, 12, 31), (2027, 1, 1)), ((2028, 2, 1), (2028, 3, 1))])
def test_the_next_month(moment: tuple[int, int, int], expected: tuple[int, int, int]) -> None:
    assert next_month(datetime(*moment, 23, 59, tzinfo=UTC)) == datetime(*expected, tzinfo=UTC)
