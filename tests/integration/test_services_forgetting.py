"""What was erased or dropped meets what goes on: retries, and limits."""

from __future__ import annotations

import pytest

from app.domain.errors import Conflict
from app.domain.retention import Kept
from app.services import batches, erasure, finalization, retrying, settlement
from app.store import retention
from app.store.database import TENANT
from tests.support.engine import EchoEngine
from tests.support.factories import ENDPOINT, MODEL
from tests.support.services import Desk, jsonl

LEDGER_G = "SELECT sum(operational_g + embodied_g) FROM results"
USED_G = "SELECT sum(footprint_g) FROM tenant_hours"


def some_lines(number: int) -> bytes:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Name a colour."}]}
    return jsonl({"custom_id": f"c{i}", "method": "POST", "url": ENDPOINT, "body": body} for i in range(number))


def test_a_batch_whose_prompts_are_just_being_dropped_is_not_retried_with_empty_lines(desk: Desk) -> None:
    batch_id = desk.validated(some_lines(3)).id
    batches.cancel(desk.context, TENANT, batch_id)
    finalization.finalize(desk.context, batch_id)
    with desk.context.database.transaction() as connection:
        assert retention.drop_lines(connection, Kept.PROMPTS, batch_id, after=0, limit=1) == 1
    with pytest.raises(Conflict, match="as their retention says"):
        retrying.retry(desk.context, TENANT, batch_id)
    assert desk.rows("SELECT count(*) FROM batches") == [1]


def test_a_retry_that_is_there_is_given_again_though_the_prompts_of_the_first_are_gone(desk: Desk) -> None:
    batch_id = desk.validated(some_lines(3)).id
    batches.cancel(desk.context, TENANT, batch_id)
    finalization.finalize(desk.context, batch_id)
    own = retrying.retry(desk.context, TENANT, batch_id).batch
    with desk.context.database.transaction() as connection:
        retention.mark_gone(connection, Kept.PROMPTS, batch_id, desk.clock.now())
    assert retrying.retry(desk.context, TENANT, batch_id).batch.id == own.id


def test_what_an_erased_batch_used_still_counts_when_the_hour_is_priced_anew(desk: Desk, engine: EchoEngine) -> None:
    worker = desk.worker(engine)
    desk.expect([100.0])
    first = desk.submit(some_lines(3))
    desk.submit(some_lines(3))
    desk.work(worker)
    erasure.erase_batch(desk.context, TENANT, first)
    (used_g,), (kept_g,) = desk.rows(USED_G), desk.rows(LEDGER_G)
    desk.expect([200.0])
    now = desk.clock.now()
    with desk.context.database.transaction() as connection:
        changed = settlement.settle(connection, "WORLD", desk.context.settings.basis, since=now, now=now)
    (dearer_g,) = desk.rows(LEDGER_G)
    assert changed
    assert dearer_g > kept_g
    assert desk.rows(USED_G) == [pytest.approx(used_g + dearer_g - kept_g)]
