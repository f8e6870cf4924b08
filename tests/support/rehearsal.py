"""A real stack whose clock runs 600 times as fast: an hour takes six seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from app.domain.intensity import HOUR
from app.domain.units import hour_of
from tests.support.embedded import temporary_home
from tests.support.lines import line, read_lines, write_lines
from tests.support.openai_server import OpenAIServer
from tests.support.stack import RunningStack
from tests.support.waiting import eventually

SPEED = 600
DAYS = 12
"""Of past, from which the built-in forecast learns, and of future, which only the provider knows."""

Shape = Callable[[int], float]
"""gCO2eq/kWh by hours from the start of the rehearsal."""


def write_trace(path: Path, start: datetime, zones: Mapping[str, Shape]) -> Path:
    rows = [
        f"{start + hour * HOUR:%Y-%m-%dT%H:%M:%SZ},{zone},{shape(hour)}"
        for zone, shape in zones.items()
        for hour in range(-24 * DAYS, 24 * DAYS)
    ]
    path.write_text("\n".join(["datetime_utc,zone,intensity_g_per_kwh", *rows]) + "\n")
    return path


class Rehearsal:
    """A running stack, its clock and its trace."""

    def __init__(self, stack: RunningStack, http: httpx.Client, start: datetime, trace: Path, folder: Path) -> None:
        self.stack = stack
        self.start = start
        self.trace = trace
        self._folder = folder
        self._http = http

    def now(self) -> datetime:
        return self.start + (datetime.now(UTC) - self.start) * SPEED

    def submit(self, requests: int, *, window: str = "24h", **metadata: str) -> str:
        texts = [f"say {number} " + "word " * 20 for number in range(requests)]
        return self.ask(texts, window=window, **metadata)

    def ask(self, texts: Sequence[str], *, window: str = "24h", **metadata: str) -> str:
        """The id of a batch over these prompts."""
        lines = [line(f"r{number}", text, model="echo") for number, text in enumerate(texts)]
        source = write_lines(self._folder / "in.jsonl", lines)
        with source.open("rb") as file:
            uploaded = self._http.post("/v1/files", data={"purpose": "batch"}, files={"file": ("in.jsonl", file)})
        body = {
            "input_file_id": uploaded.raise_for_status().json()["id"],
            "endpoint": "/v1/chat/completions",
            "completion_window": window,
            "metadata": metadata,
        }
        return str(self._http.post("/v1/batches", json=body).raise_for_status().json()["id"])

    def state(self, batch_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self._http.get(f"/v1/batches/{batch_id}").raise_for_status().json()
        return found

    def ended(self, batch_id: str) -> Sequence[dict[str, Any]]:
        """The output of a batch, once it is completed."""
        eventually(lambda: self.state(batch_id)["status"] == "completed", within_s=120)
        file_id = self.state(batch_id)["output_file_id"]
        target = self._folder / "out.jsonl"
        target.write_bytes(self._http.get(f"/v1/files/{file_id}/content").content)
        return read_lines(target)

    def report(self, batch_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self._http.get(f"/sprout/v1/batches/{batch_id}/report").raise_for_status().json()
        return found

    def zones(self) -> Sequence[dict[str, Any]]:
        found: Sequence[dict[str, Any]] = self._http.get("/sprout/v1/intensity").raise_for_status().json()["zones"]
        return found

    def quote(self, requests: int, window: str) -> dict[str, Any] | None:
        """None while nothing is measured."""
        body = {"requests": {"default": requests}, "completion_window": window}
        answer = self._http.post("/sprout/v1/quote", json=body)
        return None if "was measured yet" in answer.text else dict(answer.raise_for_status().json())

    def measure(self) -> None:
        """Run something, so that the time of a request is known."""
        self.ended(self.submit(8))
        eventually(lambda: self.quote(8, "6h") is not None, within_s=30)


@contextmanager
def rehearsal(zones: Mapping[str, Shape], folder: Path, engine: OpenAIServer, **settings: str) -> Iterator[Rehearsal]:
    # The hour of the rehearsal begins with it.
    start = datetime.now(UTC)
    trace = write_trace(folder / "trace.csv", hour_of(start), zones)
    own = {
        "SPROUT_ENGINE": "openai",
        "SPROUT_ENGINE_URL": engine.url,
        "SPROUT_MODEL_NAME": "echo",
        "SPROUT_SHARD_SIZE": "8",
        "SPROUT_ZONE": next(iter(zones)),
        "SPROUT_INTENSITY_PROVIDER": "trace",
        "SPROUT_TRACE_FILE": str(trace),
        "SPROUT_CLOCK_SPEED": str(SPEED),
        "SPROUT_CLOCK_START": start.isoformat(),
        "SPROUT_PERIOD_S": "1",
        "SPROUT_TICK_S": "0.5",
        # Only the hour is to make a difference here.
        "SPROUT_PRIOR": "none",
        "SPROUT_EMBODIED_G": "0",
        **settings,
    }
    with (
        temporary_home() as home,
        RunningStack(home, own) as stack,
        httpx.Client(base_url=stack.api_url, trust_env=False, timeout=30) as http,
    ):
        yield Rehearsal(stack, http, start, trace, folder)
