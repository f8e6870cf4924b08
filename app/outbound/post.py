"""One POST to an address that a user named: no proxy, no redirect, and of the answer only its head."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cache

import httpcore
import httpx

from app.outbound.connection import Network, PrivateAddress, Resolve, resolve

WITHIN_S = 10.0
"""From looking up the name to the answer's head. Only the system's look-up may take longer."""

BUSY = (429, 503)
"""Statuses with which an endpoint may say when to come again."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """`fault` is a clause without the address, which may hold a secret; empty if the endpoint has heard."""

    fault: str = ""
    gone: bool = False
    """It wants to hear nothing any more."""
    wait: timedelta = timedelta()
    """How long it asks to be left alone."""


def post(
    url: str,
    body: str,
    headers: Mapping[str, str],
    *,
    private: bool,
    now: datetime,
    within_s: float = WITHIN_S,
    resolve: Resolve = resolve,
) -> Reply:
    """Send a JSON body, once."""
    network = Network(within_s=within_s, private=private, resolve=resolve)
    try:
        with (
            httpcore.ConnectionPool(ssl_context=_trust(), network_backend=network, retries=0) as pool,
            pool.stream("POST", _target(url), headers=_sent(url, headers), content=body.encode()) as response,
        ):
            return _reply(response, now)
    except PrivateAddress:
        return Reply(
            fault="its name leads to a private address, and only with SPROUT_WEBHOOK_PRIVATE=true is one called"
        )
    except httpcore.TimeoutException:
        return Reply(fault=f"it did not answer within {within_s:g} s")
    except httpcore.ConnectError as exc:
        return Reply(fault=f"it cannot be reached: {exc}")
    except (httpcore.NetworkError, httpcore.ProtocolError):
        # What it sent instead is not repeated.
        return Reply(fault="it broke off, or what it answered is not HTTP")


def _target(url: str) -> httpcore.URL:
    parsed = httpx.URL(url)
    port = parsed.port or (443 if parsed.scheme == "https" else 80)
    return httpcore.URL(scheme=parsed.raw_scheme, host=parsed.raw_host, port=port, target=parsed.raw_path)


def _sent(url: str, headers: Mapping[str, str]) -> Mapping[str | bytes, str | bytes]:
    return {
        "host": httpx.URL(url).netloc.decode("ascii"),
        "content-type": "application/json",
        "user-agent": "Sprout",
        "connection": "close",
        **dict[str | bytes, str | bytes](headers.items()),
    }


@cache
def _trust() -> ssl.SSLContext:
    """SSL_CERT_FILE of the environment, or the bundled authorities."""
    return httpx.create_ssl_context()


def _reply(response: httpcore.Response, now: datetime) -> Reply:
    if 200 <= response.status < 300:
        return Reply()
    said = {name.lower(): value for name, value in response.headers}.get(b"retry-after", b"")
    wait = _wait(said.decode("latin-1"), now) if response.status in BUSY else timedelta()
    return Reply(fault=f"it answered {response.status}", gone=response.status == 410, wait=wait)


def _wait(text: str, now: datetime) -> timedelta:
    """Of Retry-After: seconds or a date; nothing where it is neither."""
    if text.isascii() and text.isdigit():
        return timedelta(seconds=min(int(text[:12]), 1_000_000))
    try:
        until = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return timedelta()
    return max(until.replace(tzinfo=until.tzinfo or UTC) - now, timedelta())
