"""The API as the command line uses it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote as quoted

import httpx

from app.cli.commands import LOOPBACK
from app.domain.batch import BatchStatus
from app.domain.errors import ConfigurationError, InvalidInput, ServiceUnavailable

PROGRESS_S = 5.0
"""How often a batch that is watched is looked at while it runs; its end is told at once."""
RETRY_S = 0.25
PATIENCE_S = 60.0
"""An API that is away for longer than this is not coming back by itself."""


class Client:
    """A context manager over one HTTP connection pool.

    Raises, in every method:
        InvalidInput: the API refused what was asked, in its own words.
        ServiceUnavailable: the API does not answer.
    """

    def __init__(self, base_url: str, *, key: str | None) -> None:
        if not base_url.startswith(("http://", "https://")):
            raise ConfigurationError(f"SPROUT_API_URL={base_url} is not an address such as http://127.0.0.1:8000.")
        self._url = base_url
        self._reached = False
        headers = {b"Authorization": f"Bearer {key}".encode()} if key else {}
        timeout = httpx.Timeout(30.0, read=300.0, write=300.0)
        try:
            # A proxy of the environment is for the world outside, not for this machine.
            proxied = httpx.URL(base_url).host not in LOOPBACK
            self._http = httpx.Client(base_url=base_url, headers=headers, timeout=timeout, trust_env=proxied)
        except httpx.InvalidURL as exc:
            raise ConfigurationError(f"SPROUT_API_URL={base_url} is not an address: {exc}.") from exc

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def upload(self, path: Path, name: str) -> str:
        """The id of the new input file."""
        with path.open("rb") as file:
            return str(self._call("POST", "/v1/files", data={"purpose": "batch"}, files={"file": (name, file)})["id"])

    def create(self, file_id: str, *, endpoint: str, window: str, metadata: Mapping[str, str]) -> Mapping[str, Any]:
        body = {
            "input_file_id": file_id,
            "endpoint": endpoint,
            "completion_window": window,
            "metadata": dict(metadata),
        }
        return self._call("POST", "/v1/batches", json=body)

    def batches(self) -> list[Mapping[str, Any]]:
        """The newest hundred."""
        return list(self._ask("/v1/batches", limit=100)["data"])

    def batch(self, batch_id: str) -> Mapping[str, Any]:
        return self._ask(f"/v1/batches/{batch_id}")

    def report(self, batch_id: str) -> Mapping[str, Any]:
        return self._ask(f"/sprout/v1/batches/{batch_id}/report")

    def quote(self, requests: Mapping[str, int], **terms: str | int | None) -> Mapping[str, Any]:
        """What a batch of so many requests per workload would emit, and when it ends; `terms` as the API has them."""
        return self._call("POST", "/sprout/v1/quote", json={"requests": dict(requests), **terms})

    def release(self, batch_id: str) -> Mapping[str, Any]:
        """Let a batch that waits run at once."""
        return self._call("POST", f"/sprout/v1/batches/{batch_id}/release")

    def cancel(self, batch_id: str) -> Mapping[str, Any]:
        """Stop a batch; what is answered is kept."""
        return self._call("POST", f"/v1/batches/{batch_id}/cancel")

    def directives(self) -> Mapping[str, Any]:
        """The current mixes and the latest run."""
        return self._ask("/sprout/v1/directives")

    def evaluations(self, model: str | None) -> Mapping[str, Any]:
        """What is known of the quality of answers."""
        return self._ask("/sprout/v1/evaluations", **({"model": model} if model else {}))

    def next_pair(self, voter: str) -> Mapping[str, Any] | None:
        """Two answers to vote on; None if nothing is left for this voter."""
        pair: Mapping[str, Any] | None = self._ask("/sprout/v1/votes/next", voter=voter)["pair"]
        return pair

    def vote(self, voter: str, pair_id: str, choice: str) -> None:
        """Say which answer of a pair is better: `first`, `second` or `neither`."""
        self._call("POST", "/sprout/v1/votes", json={"voter": voter, "pair": pair_id, "choice": choice})

    def intensity(self) -> Mapping[str, Any]:
        """Carbon intensity of every zone, past and expected."""
        return self._ask("/sprout/v1/intensity")

    def results_since(self, batch_id: str, since: float) -> list[Mapping[str, Any]]:
        return list(self._ask(f"/sprout/v1/batches/{batch_id}/results", since=since)["data"])

    def model(self) -> str:
        """The model that the workers serve."""
        return str(self._ask("/v1/models")["data"][0]["id"])

    def add_webhook(self, url: str, event_types: Sequence[str], name: str) -> Mapping[str, Any]:
        """Have a URL told when batches end."""
        body = {"url": url, "event_types": list(event_types), "name": name}
        return self._call("POST", "/sprout/v1/webhooks", json=body)

    def webhooks(self) -> list[Mapping[str, Any]]:
        """All of them, newest first."""
        return list(self._ask("/sprout/v1/webhooks")["data"])

    def remove_webhook(self, webhook_id: str) -> None:
        """Tell it nothing any more."""
        self._call("DELETE", f"/sprout/v1/webhooks/{quoted(webhook_id, safe='')}")

    def rotate_webhook(self, webhook_id: str) -> Mapping[str, Any]:
        """Give it a new secret."""
        return self._call("POST", f"/sprout/v1/webhooks/{quoted(webhook_id, safe='')}/rotate_secret")

    def watch(self, batch_id: str) -> Iterator[Mapping[str, Any]]:
        """The batch as it is, then again and again until it has ended."""
        batch = self.batch(batch_id)
        yield batch
        while not BatchStatus(batch["status"]).is_final:
            batch = self._ask(f"/sprout/v1/batches/{batch_id}/wait", within_s=PROGRESS_S)
            yield batch

    def download(self, file_id: str, target: Path) -> None:
        """Write a file's content; `target` appears whole or not at all."""
        unfinished = target.with_name(f".{target.name}.part")
        try:
            with self._http.stream("GET", f"/v1/files/{file_id}/content") as response:
                if response.status_code != 200:
                    response.read()
                    _refuse(response)
                with unfinished.open("wb") as file:
                    for chunk in response.iter_bytes():
                        file.write(chunk)
            unfinished.replace(target)
        except httpx.TransportError as exc:
            raise self._away(exc) from exc
        finally:
            unfinished.unlink(missing_ok=True)

    def _ask(self, path: str, **query: str | float) -> Mapping[str, Any]:
        """GET, patient with an API that is restarted meanwhile, but not with one that was never there."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return self._call("GET", path, params=query)
            except ServiceUnavailable:
                if not self._reached or time.monotonic() > deadline:
                    raise
                time.sleep(RETRY_S)

    def _call(self, method: str, path: str, **arguments: Any) -> Mapping[str, Any]:
        try:
            response = self._http.request(method, path, **arguments)
        except httpx.TransportError as exc:
            raise self._away(exc) from exc
        if response.status_code >= 400:
            _refuse(response)
        try:
            body: Mapping[str, Any] = response.json()
        except ValueError as exc:
            raise ConfigurationError(f"What answers at {self._url} is not Sprout's API: set SPROUT_API_URL.") from exc
        self._reached = True
        return body

    def _away(self, exc: httpx.TransportError) -> ServiceUnavailable:
        return ServiceUnavailable(
            f"The API at {self._url} does not answer ({exc}): start it with `sprout up`, or set SPROUT_API_URL."
        )


def _refuse(response: httpx.Response) -> None:
    try:
        message = str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        message = f"The API answered {response.status_code}: {response.text[:200]}"
    if response.status_code >= 500:
        raise ServiceUnavailable(message)
    raise InvalidInput(message)
