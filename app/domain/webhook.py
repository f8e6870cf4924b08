"""What webhooks are told, and how: OpenAI's events, signed as Standard Webhooks (https://www.standardwebhooks.com)."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from app.domain.batch import BatchStatus
from app.domain.errors import InvalidInput

BATCH_EVENTS = tuple(f"batch.{status}" for status in BatchStatus if status.is_final)
"""What a tenant's endpoint may be told of: that one of its batches has ended, and how."""

SECRET_PREFIX = "whsec_"  # noqa: S105  no secret itself
SECRET_BYTES = (24, 64)
"""Least and most bytes of a secret, by the specification."""

WAITS = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
)
"""Between one try and the next, as the specification has them."""

TRIES = len(WAITS) + 1
JITTER = 0.2
"""Part of a wait by which it is longer at most, so that what failed together does not come back together."""


def batch_event(status: BatchStatus) -> str:
    return f"batch.{status}"


def payload(event_id: str, kind: str, data: Mapping[str, Any], at: datetime) -> str:
    """The body: every try sends and signs the same text."""
    event = {"id": event_id, "object": "event", "created_at": int(at.timestamp()), "type": kind, "data": data}
    return json.dumps(event, ensure_ascii=False, separators=(",", ":"))


def headers(secret: str, event_id: str, body: str, now: datetime) -> Mapping[str, str]:
    """What proves that the body is ours, and from now. `secret` is a checked one."""
    timestamp = str(int(now.timestamp()))
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    digest = hmac.digest(key, f"{event_id}.{timestamp}.{body}".encode(), "sha256")
    return {
        "webhook-id": event_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def as_secret(key: bytes) -> str:
    return SECRET_PREFIX + base64.b64encode(key).decode()


def check_secret(text: str) -> None:
    """Raises InvalidInput, without the secret."""
    least, most = SECRET_BYTES
    try:
        key = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not text.startswith(SECRET_PREFIX) or not least <= len(key) <= most:
        raise InvalidInput(
            f"A webhook's secret is '{SECRET_PREFIX}' followed by {least} to {most} random bytes in base64. Make one: "
            f"`echo {SECRET_PREFIX}$(openssl rand -base64 32)`."
        )


def next_wait(tries: int, *, asked: timedelta, chance: float) -> timedelta | None:
    """How long to wait after so many failed `tries`; None after the last.

    `asked` is what the endpoint said (Retry-After), zero if nothing: it makes a wait longer, up to the longest there
    is, and never shorter. `chance` in [0, 1) draws the jitter.
    """
    if tries >= TRIES:
        return None
    return max(WAITS[tries - 1], min(asked, WAITS[-1])) * (1 + JITTER * chance)
