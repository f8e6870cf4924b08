"""One web API that gives carbon intensity: how long it is waited for, asked again, spared and remembered."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
from cachetools import TTLCache
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from app.domain.errors import ConfigurationError, IntensityUnavailable, InvalidInput
from app.grid import exchange
from app.grid.exchange import Answer, Limits, Overdue, TooLong
from app.grid.pace import Pace, RealTime, Time
from app.grid.refusals import said

ATTEMPTS = 4
LONGEST_WAIT_S = 20.0
"""A source that wants to be left alone for longer is asked again in another period, not by a task that waits for it."""
REMEMBERED_S = 60.0
"""Longer than one round of tasks that ask for the same hours, shorter than the steps in which figures are revised."""
LOOPBACK = {"127.0.0.1", "::1", "localhost"}
REMEDY = "check SPROUT_INTENSITY_URL if it is set, or try again later"

_backoff = wait_exponential_jitter(multiplier=0.5, max=LONGEST_WAIT_S, jitter=0.5)


@dataclass(frozen=True, kw_only=True)
class Question:
    """One GET. What `headers` and `auth` hold is secret: no message quotes it."""

    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    auth: tuple[str, str] | None = None

    @property
    def secrets(self) -> list[str]:
        """Each whole, in every form in which it is sent."""
        values = [*self.headers.values(), *(self.auth or ())]
        tokens = [value.removeprefix("Bearer ") for value in values]
        return [*values, *tokens, *([base64.b64encode(":".join(self.auth).encode()).decode()] if self.auth else [])]

    @property
    def can_be_sent(self) -> bool:
        headers = (
            value.isascii() and value.isprintable() and value == value.strip() for value in self.headers.values()
        )
        # What no encoding has: bytes of an environment that is not UTF-8.
        return all(headers) and not any("\ud800" <= letter <= "\udfff" for letter in "".join(self.auth or ()))

    @property
    def key(self) -> object:
        return self.path, tuple(sorted(self.params.items()))


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer that is neither a 429 nor a 5xx."""

    api: str
    status: int
    text: str
    detail: str
    """What a refusal says of itself, without the request's secrets; empty if it says nothing."""

    @property
    def is_success(self) -> bool:
        return self.status == httpx.codes.OK

    def json(self) -> Any:
        """Raises IntensityUnavailable."""
        try:
            return json.loads(self.text)
        except (ValueError, RecursionError) as exc:
            raise IntensityUnavailable(f"{self.api} answered with something that is not JSON: {REMEDY}.") from exc

    def refused(self, what: str) -> IntensityUnavailable:
        """The error for a refusal that has no better sentence; `what` was asked for."""
        return IntensityUnavailable(f"{self.api} refuses {what} with status {self.status}{self.said}: {REMEDY}.")

    @property
    def said(self) -> str:
        """`detail` as an insertion into a sentence."""
        return f' ("{self.detail}")' if self.detail else ""


class _Busy(Exception):
    """A 429 or a 5xx."""

    def __init__(self, status: int, retry_after_s: float | None) -> None:
        super().__init__(f"status {status}")
        self.status = status
        self.retry_after_s = retry_after_s


class Api:
    """Thread-safe, and safe to fork: no connection outlives a call, since a source is asked a few times an hour."""

    def __init__(
        self, name: str, url: str, *, per_second: float, clock: Time | None = None, limits: Limits | None = None
    ) -> None:
        """Raises ConfigurationError when `url` is none."""
        self.name = name
        self.clock = clock or RealTime()
        self._url = _base(url)
        self._limits = limits or Limits()
        self._pace = Pace(per_second, self.clock)
        self._lock = threading.Lock()
        self._known: TTLCache[object, Reply] = TTLCache(32, REMEMBERED_S, timer=self.clock.monotonic)

    def get(self, question: Question, *, remember: bool = True) -> Reply:
        """The reply; a successful one is remembered for a minute.

        Raises:
            IntensityUnavailable: in no attempt was there an answer other than a 429 or a 5xx, one took too long or was
                too long, or the credential cannot be sent.
        """
        with self._lock:
            known = self._known.get(question.key)
        if known is not None and remember:
            return known
        reply = self._ask(question)
        if remember and reply.is_success:
            with self._lock:
                self._known[question.key] = reply
        return reply

    def _ask(self, question: Question) -> Reply:
        if not question.can_be_sent:
            raise IntensityUnavailable(
                f"The credential for {self.name} holds characters that cannot be sent, such as letters outside ASCII, "
                "spaces around it or a line break: set it again."
            )
        retrying = Retrying(
            stop=stop_after_attempt(ATTEMPTS),
            wait=_wait,
            retry=retry_if_exception(_worth_another),
            sleep=self.clock.pause,
            reraise=True,
        )
        try:
            return retrying(self._once, question)
        except (_Busy, Overdue, TooLong, httpx.RequestError) as exc:
            raise IntensityUnavailable(self._fault(exc)) from exc

    def _once(self, question: Question) -> Reply:
        self._pace.wait()
        answer = exchange.get(
            f"{self._url}{question.path}",
            params=question.params,
            headers={"Accept": "application/json", "User-Agent": "sprout", **question.headers},
            auth=question.auth,
            limits=self._limits,
            # A proxy of the environment is of no use for a server on this machine.
            trust_env=self._url.host not in LOOPBACK,
        )
        if answer.status == httpx.codes.TOO_MANY_REQUESTS or httpx.codes.is_server_error(answer.status):
            raise _Busy(answer.status, _retry_after_s(answer, self.clock.now()))
        detail = "" if httpx.codes.is_success(answer.status) else said(answer.text, question.secrets)
        return Reply(api=self.name, status=answer.status, text=answer.text, detail=detail)

    def _fault(self, exc: Exception) -> str:
        limits = self._limits
        match exc:
            case _Busy(status=status, retry_after_s=wished_s):
                wish = f" and wants to be left alone for {wished_s:.0f} s" if wished_s else ""
                return f"{self.name} answers with status {status}{wish}: try again later."
            case Overdue():
                return f"{self.name} had not finished its answer after {limits.deadline_s:g} s: {REMEDY}."
            case TooLong():
                return f"{self.name} answers with more than {limits.most_bytes / 1e6:g} MB: {REMEDY}."
            case httpx.TimeoutException():
                return f"{self.name} did not answer within {limits.timeout_s:g} s, {ATTEMPTS} times: {REMEDY}."
        return f"{self.name} at {self._url.host} cannot be reached ({type(exc).__name__}): {REMEDY}."


@contextmanager
def understanding(api: str, what: str) -> Iterator[None]:
    """Turns what fails on an answer of another shape, or with impossible figures, into one sentence.

    Raises:
        IntensityUnavailable: the answer to the question for `what` cannot be used.
    """
    try:
        yield
    except InvalidInput as exc:
        raise IntensityUnavailable(f"{api} answered the question for {what} with a bad figure: {exc.message}") from exc
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as exc:
        raise IntensityUnavailable(
            f"{api} answered the question for {what} in a shape that Sprout does not know ({type(exc).__name__}: "
            f"{exc}): check SPROUT_INTENSITY_URL if it is set."
        ) from exc


def _base(url: str) -> httpx.URL:
    try:
        base = httpx.URL(url.rstrip("/"))
    except httpx.InvalidURL as exc:
        raise ConfigurationError("SPROUT_INTENSITY_URL is no URL: it reads like https://api.example.org.") from exc
    if base.scheme not in ("http", "https") or not base.host or base.query or base.fragment:
        raise ConfigurationError("SPROUT_INTENSITY_URL is no base URL: it reads like https://api.example.org.")
    return base


def _worth_another(exc: BaseException) -> bool:
    if isinstance(exc, _Busy):
        return (exc.retry_after_s or 0) <= LONGEST_WAIT_S
    return isinstance(exc, httpx.TransportError)


def _wait(state: RetryCallState) -> float:
    """Seconds: longer each time, never less than the source asks for."""
    exc = state.outcome.exception() if state.outcome else None
    wished = exc.retry_after_s if isinstance(exc, _Busy) else None
    return max(_backoff(state), wished or 0)


def _retry_after_s(answer: Answer, now: datetime) -> float | None:
    """The header Retry-After, which holds seconds or a date."""
    wish = answer.headers.get("Retry-After", "")
    try:
        return max(0.0, float(wish)) if wish.strip().isdigit() else _until(wish, now)
    except ValueError:
        return None


def _until(date: str, now: datetime) -> float:
    moment = parsedate_to_datetime(date)
    return max(0.0, ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now).total_seconds())
