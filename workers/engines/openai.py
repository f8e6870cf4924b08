"""The engine that runs elsewhere: any OpenAI-compatible server, reached over HTTP."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from app.domain.completion import Completion, EngineRequest, error_body
from app.domain.errors import ConfigurationError, EngineUnavailable
from workers.engines.streaming import StreamingEngine, completion

CONNECT_S = 10.0
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
AWAY = frozenset({429, 502, 503, 504})
"""Statuses that speak of the server, or of a proxy before it, and not of the request."""

_jitter = random.SystemRandom()


class OpenAIEngine(StreamingEngine):
    """A remote OpenAI-compatible server. `busy_s` counts the time it has had something of ours to do."""

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        concurrency: int = 32,
        model: str | None = None,
        devices: int = 1,
        key_setting: str = "SPROUT_ENGINE_KEY",
    ) -> None:
        """`base_url` ends in `/v1`. `model`, if given, replaces every request's model. `devices` is how many
        accelerators the operator attributes to this use of the server. `key_setting` is named where the key is refused.

        Raises:
            ConfigurationError: `base_url` is not an HTTP address.
        """
        if not base_url.startswith(("http://", "https://")):
            raise ConfigurationError(f"The server's address {base_url!r} must start with http:// or https://.")
        self._base_url = base_url.rstrip("/")
        # As messages show it: an address may hold a password.
        self._shown = str(httpx.URL(self._base_url).copy_with(userinfo=b""))
        self._key_setting = key_setting
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._concurrency = concurrency
        self._model = model
        self._devices = devices
        super().__init__(name="openai-engine", slots=concurrency)

    @property
    def devices(self) -> int:
        return self._devices

    async def open(self) -> None:
        limits = httpx.Limits(max_connections=self._concurrency, max_keepalive_connections=self._concurrency)
        self._http = httpx.AsyncClient(headers=self._headers, limits=limits)

    async def shut(self) -> None:
        await self._http.aclose()

    async def answer(self, request: EngineRequest, timeout_s: float) -> Completion:
        """Tries again after 429, 5xx and lost connections for as long as `timeout_s` allows.

        Raises:
            EngineUnavailable: the server was away or busy all that time, or refuses the key: no line is to blame.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout_s
        pause_s = FIRST_PAUSE_S
        while True:
            failure: EngineUnavailable | None = None
            after_s = 0.0
            try:
                response = await self._post(request, deadline - clock())
            except httpx.TransportError as exc:
                failure = EngineUnavailable(f"The server {self._shown} does not answer ({exc!r}): check that it runs.")
                failure.__cause__ = exc
            else:
                if response.status_code == httpx.codes.UNAUTHORIZED:
                    raise EngineUnavailable(f"The server {self._shown} refuses the API key: check {self._key_setting}.")
                if response.status_code in AWAY:
                    failure = EngineUnavailable(f"The server {self._shown} answers {response.status_code}: it is busy.")
                elif response.status_code < 500:
                    return _completion(request.key, response)
                after_s = _retry_after_s(response)
            after_s = max(after_s, pause_s * _jitter.uniform(0.5, 1.0))
            if clock() + after_s >= deadline:
                if failure is not None:
                    raise failure
                return _completion(request.key, response)
            await asyncio.sleep(after_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _post(self, request: EngineRequest, remaining_s: float) -> httpx.Response:
        body = dict(request.body) if self._model is None else {**request.body, "model": self._model}
        # Half of what remains: a host that swallows packets must count as unreachable, not as a slow request.
        timeout = httpx.Timeout(None, connect=min(CONNECT_S, remaining_s / 2))
        path = request.endpoint.removeprefix("/v1")
        return await self._http.post(f"{self._base_url}{path}", json=body, timeout=timeout)


def _completion(key: str, response: httpx.Response) -> Completion:
    body = _json_object(response)
    if body is not None:
        return completion(key, response.status_code, body)
    message = f"The server answered {response.status_code} without a JSON object: {response.text[:200]!r}."
    return completion(key, response.status_code if response.is_error else 502, error_body(message, kind="server_error"))


def _json_object(response: httpx.Response) -> dict[str, Any] | None:
    try:
        body = response.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _retry_after_s(response: httpx.Response) -> float:
    """What the header Retry-After asks for, in either of its two forms; 0 without it."""
    value = response.headers.get("Retry-After", "")
    try:
        return float(value)
    except ValueError:
        pass
    try:
        return (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return 0.0
