"""The specification's own example, secrets, and the waits between tries."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from app.domain.errors import InvalidInput
from app.domain.webhook import BATCH_EVENTS, TRIES, WAITS, as_secret, check_secret, headers, next_wait, payload

MOMENT = datetime(2024, 6, 23, 16, tzinfo=UTC)


def test_the_example_of_the_specification_is_signed_as_it_is_there() -> None:
    signed = headers(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        '{"test": 2432232314}',
        datetime.fromtimestamp(1614265330, UTC),
    )
    assert signed == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_the_body_has_the_fields_of_openais() -> None:
    assert json.loads(payload("evt_abc123", "batch.completed", {"id": "batch_abc123"}, MOMENT)) == {
        "id": "evt_abc123",
        "object": "event",
        "type": "batch.completed",
        "created_at": 1719158400,
        "data": {"id": "batch_abc123"},
    }
    assert set(BATCH_EVENTS) == {"batch.completed", "batch.failed", "batch.expired", "batch.cancelled"}


@pytest.mark.parametrize(
    "secret",
    ["", "whsec_", "plain", "whsec_c2hvcnQ=", "whsec_%%%", as_secret(bytes(23)), as_secret(bytes(65)), "whsec_ä"],
)
def test_a_weak_secret_is_refused_without_being_said(secret: str) -> None:
    with pytest.raises(InvalidInput, match="24 to 64 random bytes") as caught:
        check_secret(secret)
    assert not secret.removeprefix("whsec_") or secret.removeprefix("whsec_") not in caught.value.message


def test_a_good_one_is_not() -> None:
    check_secret(as_secret(bytes(24)))
    check_secret(as_secret(bytes(64)))


def test_seven_tries_ever_further_apart() -> None:
    waits = [next_wait(tries, asked=timedelta(), chance=0.0) for tries in range(1, TRIES + 1)]
    assert waits == [*WAITS, None]
    assert TRIES == 7
    assert next_wait(1, asked=timedelta(), chance=0.5) == timedelta(seconds=5.5)


@pytest.mark.parametrize(("asked_s", "waits_s"), [(0, 5), (3, 5), (60, 60), (10**6, 36_000)])
def test_an_endpoint_may_ask_for_more_time_within_reason_and_not_for_less(asked_s: int, waits_s: int) -> None:
    assert next_wait(1, asked=timedelta(seconds=asked_s), chance=0.0) == timedelta(seconds=waits_s)
