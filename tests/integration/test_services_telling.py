"""What webhooks hear, and when, on a real database and from real servers."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import openai
import pytest
from pydantic import SecretStr
from sqlalchemy import text

from app.domain.batch import BatchStatus
from app.domain.errors import InvalidInput, NotFound
from app.domain.webhook import BATCH_EVENTS, TRIES, WAITS, as_secret
from app.services import batches, finalization, reconciliation, telling, webhooks
from app.services.telling import LEASE, Teller, tell_next
from app.store import batches as stored
from app.store import events
from app.store import webhooks as outbox
from app.store.database import TENANT
from app.store.webhooks import Endpoint
from tests.support.engine import EchoEngine
from tests.support.factories import line
from tests.support.services import Desk, Desks, jsonl
from tests.support.waiting import eventually
from tests.support.web import Answer, Asked, serving

ONE_LINE = jsonl([line("a")])


class Receiver:
    """A webhook's server. Set `answer` to have it answer otherwise."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.answer = Answer()
        self.url = ""

    def __call__(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        return self.answer

    def heard(self) -> Sequence[tuple[str, str]]:
        """Type of each event, and the batch that it is about."""
        bodies = [json.loads(asked.body) for asked in self.asked]
        return [(body["type"], body["data"]["id"]) for body in bodies]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    with serving(made) as url:
        made.url = f"{url}/hook?token=hush"
        yield made


@pytest.fixture
def desk(desks: Desks) -> Desk:
    # Signatures are checked against the machine's clock.
    desks.clock.moment = datetime.now(UTC)
    return desks.desk(webhook_private=True)


def add(desk: Desk, url: str, *, tenant: str = TENANT, events: Sequence[str] = BATCH_EVENTS) -> Endpoint:
    return webhooks.add(desk.context, tenant, url=url, event_types=events, name="")


def tell(desk: Desk) -> int:
    """Make every try that is due; how many there were."""
    number = 0
    while tell_next(desk.context):
        number += 1
    return number


def cancelled(desk: Desk) -> str:
    """The id of a batch that has just been cancelled."""
    batch_id = desk.submit(ONE_LINE)
    batches.cancel(desk.context, TENANT, batch_id)
    finalization.finalize(desk.context, batch_id)
    return batch_id


def health(desk: Desk) -> Endpoint:
    ((endpoint, _),) = webhooks.all_of(desk.context, TENANT)
    return endpoint


def unwrapped(asked: Asked, secret: str, body: bytes | None = None) -> Any:
    client = openai.OpenAI(api_key="unused", base_url="http://127.0.0.1")
    return client.webhooks.unwrap(asked.body if body is None else body, dict(asked.headers.items()), secret=secret)


def test_every_end_is_told_and_openais_client_believes_it(desk: Desk, receiver: Receiver) -> None:
    endpoint = add(desk, receiver.url)
    completed = desk.validated(ONE_LINE).id
    desk.work(desk.worker(EchoEngine()))
    failed = desk.validated(b"\n \n").id
    stopped = cancelled(desk)
    expired = desk.submit(ONE_LINE, completion_window="1h")
    desk.clock.advance(hours=1)
    reconciliation.reconcile(desk.context)
    assert desk.batch(expired).status is BatchStatus.EXPIRED
    desk.clock.moment = datetime.now(UTC)
    desk.rows("UPDATE webhook_deliveries SET due_at = now() - interval '1 hour' RETURNING id")

    assert tell(desk) == 4
    told = dict(receiver.heard())
    assert told["batch.completed"] == completed
    assert (told["batch.cancelled"], told["batch.expired"]) == (stopped, expired)
    assert told["batch.failed"] == failed
    for asked in receiver.asked:
        event = unwrapped(asked, endpoint.secret)
        assert (event.object, event.id) == ("event", asked.headers["webhook-id"])
        assert event.type in BATCH_EVENTS
        with pytest.raises(openai.InvalidWebhookSignatureError, match="does not match"):
            unwrapped(asked, endpoint.secret, asked.body.replace(b"batch_", b"botch_"))
        with pytest.raises(openai.InvalidWebhookSignatureError, match="does not match"):
            unwrapped(asked, as_secret(bytes(32)))
    assert desk.rows("SELECT count(*) FROM webhook_deliveries") == [0]
    assert health(desk).succeeded_at == desk.clock.now()
    assert tell(desk) == 0


def test_an_old_call_that_is_played_again_is_refused(desk: Desk, receiver: Receiver) -> None:
    endpoint = add(desk, receiver.url)
    desk.clock.advance(minutes=-6)
    cancelled(desk)
    tell(desk)
    with pytest.raises(openai.InvalidWebhookSignatureError, match="too old"):
        unwrapped(receiver.asked[0], endpoint.secret)


def test_what_was_ended_is_told_whatever_is_killed_in_between(desk: Desk, receiver: Receiver) -> None:
    add(desk, receiver.url)
    batch_id = desk.submit(ONE_LINE)
    with desk.context.database.transaction() as connection:
        stored.move(connection, batch_id, BatchStatus.FAILED, desk.clock.now())
        connection.rollback()
    assert tell(desk) == 0, "an end that was not to be is not told"
    stopped = cancelled(desk)
    # One takes it and dies before it sends it.
    with desk.context.database.transaction() as connection:
        assert outbox.claim(connection, now=desk.clock.now(), lease=LEASE) is not None
    assert tell(desk) == 0, "it may be at it yet"
    desk.clock.advance(LEASE)
    assert tell(desk) == 1
    assert receiver.heard() == [("batch.cancelled", stopped)]


def test_one_that_took_too_long_changes_nothing_for_the_one_that_came_after(desk: Desk, receiver: Receiver) -> None:
    add(desk, receiver.url)
    cancelled(desk)
    with desk.context.database.transaction() as connection:
        late = outbox.claim(connection, now=desk.clock.now(), lease=LEASE)
    desk.clock.advance(LEASE)
    with desk.context.database.transaction() as connection:
        present = outbox.claim(connection, now=desk.clock.now(), lease=LEASE)
    assert late is not None
    assert present is not None
    assert late.id == present.id
    with desk.context.database.transaction() as connection:
        for wait in (timedelta(0), None):
            outbox.failed(connection, late, desk.clock.now(), fault="late", wait=wait, gone=False)
    assert desk.rows("SELECT tries, lease_expires_at FROM webhook_deliveries") == [(0, present.lease_expires_at)]
    assert health(desk).given_up == 0


def test_seven_tries_with_the_same_id_and_then_no_more(desk: Desk, receiver: Receiver) -> None:
    receiver.answer = Answer(status=500)
    endpoint = add(desk, receiver.url)
    cancelled(desk)
    assert tell(desk) == 1
    for wait in WAITS:
        desk.clock.advance(wait - timedelta(seconds=1))
        assert tell(desk) == 0
        desk.clock.advance(wait * 0.2 + timedelta(seconds=1))
        assert tell(desk) == 1
    desk.clock.advance(days=30)
    assert tell(desk) == 0
    assert len(receiver.asked) == TRIES
    assert len({asked.headers["webhook-id"] for asked in receiver.asked}) == 1
    assert len({asked.body for asked in receiver.asked}) == 1
    assert len({asked.headers["webhook-timestamp"] for asked in receiver.asked}) == TRIES, "each is signed anew"
    found = health(desk)
    assert (found.id, found.given_up, found.fault) == (endpoint.id, 1, "it answered 500")


def test_one_that_recovers_has_heard_it_and_is_no_longer_failing(desk: Desk, receiver: Receiver) -> None:
    receiver.answer = Answer(status=503, headers={"Retry-After": "60"})
    add(desk, receiver.url)
    stopped = cancelled(desk)
    tell(desk)
    assert health(desk).failing
    receiver.answer = Answer(status=204, content=b"")
    desk.clock.advance(seconds=59)
    assert tell(desk) == 0, "it asked for a minute"
    desk.clock.advance(seconds=14)
    assert tell(desk) == 1
    assert receiver.heard() == [("batch.cancelled", stopped)] * 2
    found = health(desk)
    assert (found.failing, found.succeeded_at, found.given_up) == (False, desk.clock.now(), 0)


def test_one_that_is_gone_is_told_nothing_any_more(desk: Desk, receiver: Receiver) -> None:
    receiver.answer = Answer(status=410)
    add(desk, receiver.url)
    cancelled(desk)
    cancelled(desk)
    assert tell(desk) == 1
    cancelled(desk)
    assert tell(desk) == 0
    assert health(desk).disabled_at == desk.clock.now()
    assert desk.rows("SELECT count(*) FROM webhook_deliveries") == [0]


def test_only_who_wants_it_hears_of_it_and_no_other_tenant(desk: Desk, receiver: Receiver) -> None:
    add(desk, receiver.url, events=["batch.failed"])
    theirs = add(desk, receiver.url, tenant="another")
    cancelled(desk)
    assert tell(desk) == 0
    for act in (webhooks.remove, webhooks.rotate):
        with pytest.raises(NotFound):
            act(desk.context, TENANT, theirs.id)
    with pytest.raises(NotFound):
        webhooks.remove(desk.context, TENANT, outbox.OPERATOR)


def test_a_rotated_secret_signs_what_is_tried_again(desk: Desk, receiver: Receiver) -> None:
    receiver.answer = Answer(status=401)
    old = add(desk, receiver.url)
    cancelled(desk)
    tell(desk)
    new = webhooks.rotate(desk.context, TENANT, old.id)
    desk.clock.advance(seconds=6)
    tell(desk)
    first, second = receiver.asked
    assert unwrapped(first, old.secret).type == unwrapped(second, new.secret).type == "batch.cancelled"
    with pytest.raises(openai.InvalidWebhookSignatureError):
        unwrapped(second, old.secret)


def test_a_removed_one_takes_what_waits_with_it(desk: Desk, receiver: Receiver) -> None:
    endpoint = add(desk, receiver.url)
    cancelled(desk)
    webhooks.remove(desk.context, TENANT, endpoint.id)
    assert tell(desk) == 0
    assert webhooks.all_of(desk.context, TENANT) == []


def test_two_never_make_the_same_try(desk: Desk, receiver: Receiver) -> None:
    for _ in range(5):
        add(desk, receiver.url)
    for _ in range(4):
        cancelled(desk)
    tellers = [Teller(desk.context, slots=4), Teller(desk.context, slots=4)]

    def all_told() -> bool:
        for each in tellers:
            each.wake()
        return desk.rows("SELECT count(*) FROM webhook_deliveries") == [0]

    eventually(all_told)
    ids = [asked.headers["webhook-id"] for asked in receiver.asked]
    assert len(ids) == len(set(ids)) == 20


def test_one_that_hangs_keeps_nobody_waiting(desk: Desk, receiver: Receiver) -> None:
    let_go = threading.Event()

    def hang(_: Asked) -> Answer:
        let_go.wait(20)
        return Answer()

    with serving(hang) as url:
        hanging = add(desk, url)
        for _ in range(outbox.AT_ONCE + 2):
            cancelled(desk)
        add(desk, receiver.url)
        stopped = cancelled(desk)
        teller = Teller(desk.context, slots=outbox.AT_ONCE + 1)
        try:
            eventually(lambda: teller.wake() or receiver.heard() == [("batch.cancelled", stopped)], within_s=5)
            leased = "SELECT count(*) FROM webhook_deliveries WHERE lease_expires_at IS NOT NULL AND endpoint_id = :id"
            assert 1 <= desk.rows(leased, id=hanging.id)[0] <= outbox.AT_ONCE
        finally:
            let_go.set()
        eventually(lambda: teller.wake() or desk.rows("SELECT count(*) FROM webhook_deliveries") == [0])


def test_failing_ones_come_last_and_one_at_a_time(desk: Desk, receiver: Receiver) -> None:
    failing, good = add(desk, receiver.url), add(desk, receiver.url)
    for _ in range(2):
        cancelled(desk)
    desk.rows("UPDATE webhook_endpoints SET failing = true WHERE id = :id RETURNING id", id=failing.id)
    with desk.context.database.transaction() as connection:
        claimed = [outbox.claim(connection, now=desk.clock.now(), lease=LEASE) for _ in range(4)]
    assert [each and each.endpoint.id for each in claimed] == [good.id, good.id, failing.id, None]


def test_failures_are_logged_without_what_may_be_secret(
    desk: Desk, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answer = Answer(status=500)
    endpoint = add(desk, receiver.url)
    cancelled(desk)
    with caplog.at_level(logging.DEBUG, logger="app"):
        tell(desk)
    assert f"webhook {endpoint.id} at 127.0.0.1 was not told" in caplog.text
    assert "it answered 500; next try in " in caplog.text
    assert "hush" not in caplog.text
    assert "/hook" not in caplog.text
    assert endpoint.secret not in caplog.text


def test_a_name_that_leads_inside_is_not_called(desks: Desks, receiver: Receiver) -> None:
    desk = desks.desk()
    add(desk, "https://hooks.example.com/in")
    cancelled(desk)
    assert tell_next(desk.context, resolve=lambda host, port: ["169.254.169.254"])
    assert "private address" in str(health(desk).fault)


@pytest.mark.parametrize(
    "url",
    [
        *("", "hooks", "ftp://a.example/", "http://a.example/", "https://", "https://a.example:0/", "https://a b/"),
        *("https://127.0.0.1/", "https://2130706433/", "https://0x7f.1/", "https://[::1]/", "https://10.1/"),
        *("https://user:hush@a.example/", "https://a.example/#hush", f"https://a.example/{'hush' * 600}"),
        *("https://[::ffff:10.0.0.1]/", "https://a.example:99999/", "https://0177.0.0.1/", "https://169.254.169.254/"),
    ],
)
def test_an_address_that_cannot_be_called_is_refused_without_being_said(desks: Desks, url: str) -> None:
    with pytest.raises(InvalidInput, match="A webhook's URL") as caught:
        add(desks.desk(), url)
    assert "hush" not in caught.value.message


def test_as_many_as_there_may_be_even_if_all_come_at_once(desk: Desk) -> None:
    refused: list[str] = []

    def try_to_add() -> None:
        try:
            add(desk, "https://a.example/")
        except InvalidInput as exc:
            refused.append(exc.message)

    threads = [threading.Thread(target=try_to_add) for _ in range(webhooks.MOST + 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(webhooks.all_of(desk.context, TENANT)) == webhooks.MOST
    assert len(refused) == 3
    for bad in ([], ["batch.done"], ["quality_drop"]):
        with pytest.raises(InvalidInput, match="choose among batch"):
            add(desk, "https://a.example/", events=bad)


def a_drop(desk: Desk) -> None:
    with desk.context.database.transaction() as connection:
        events.add(
            connection, tenant=TENANT, kind="quality_drop", message="worse", details={"level": 1}, now=desk.clock.now()
        )


def test_the_operator_hears_of_the_installation_and_of_nothing_before(desks: Desks, receiver: Receiver) -> None:
    desks.clock.moment = datetime.now(UTC)
    secret = as_secret(bytes(range(32)))
    # Private addresses are the operator's own.
    desk = desks.desk(webhook_url=SecretStr(receiver.url), webhook_secret=SecretStr(secret))
    a_drop(desk)
    telling.publish_operator(desk.context)
    cancelled(desk)
    assert tell(desk) == 0
    a_drop(desk)
    telling.publish_operator(desk.context)
    assert tell(desk) == 1
    event = unwrapped(receiver.asked[0], secret)
    assert event.type == "quality_drop"
    assert json.loads(receiver.asked[0].body)["data"] == {"message": "worse", "level": 1}
    assert webhooks.all_of(desk.context, TENANT) == []

    a_drop(desk)
    telling.publish_operator(desks.desk().context)
    assert tell(desk) == 0
    assert desk.rows("SELECT count(*) FROM webhook_endpoints") == [0]


def test_an_endpoint_that_is_removed_while_a_batch_ends_does_not_undo_the_end(desk: Desk, receiver: Receiver) -> None:
    endpoint = add(desk, receiver.url)
    batch_id = desk.submit(ONE_LINE)
    with desk.context.database.transaction() as connection:
        stored.move(connection, batch_id, BatchStatus.FAILED, desk.clock.now())
        remover = threading.Thread(target=webhooks.remove, args=(desk.context, TENANT, endpoint.id))
        remover.start()
        waits = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        eventually(lambda: connection.execute(text(waits)).scalar() == 1)
    remover.join()
    assert desk.batch(batch_id).status is BatchStatus.FAILED
    assert tell(desk) == 0
