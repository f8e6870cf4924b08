"""No prompt and no answer in logs or in what goes over the broker, whatever fails."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.embedded import client_of, temporary_home
from tests.support.engine import CITED
from tests.support.lines import write_lines
from tests.support.stack import RunningStack
from tests.support.waiting import eventually

MARKER = "zanzibarquux"


@contextmanager
def overheard(url: str) -> Iterator[list[str]]:
    """Every command that the broker is given meanwhile."""
    heard: list[str] = []
    with client_of(url) as broker, broker.monitor() as monitor:
        ended = threading.Event()

        def listen() -> None:
            while not ended.is_set():
                try:
                    heard.append(str(monitor.next_command()["command"]))
                except (TimeoutError, OSError, ValueError):
                    continue

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        yield heard
        ended.set()
        # The next word that the broker hears, which comes at once, ends it.
        with client_of(url) as other:
            other.ping()
        thread.join(timeout=10)


def marked(number: int, **changes: object) -> dict[str, object]:
    text = f"{MARKER} {number} {CITED if number % 3 == 0 else ''}"
    body = {
        "model": "echo",
        "messages": [{"role": "system", "content": MARKER}, {"role": "user", "content": text}],
        "metadata": {"note": MARKER},
    }
    return {"custom_id": f"{MARKER}-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body, **changes}


@pytest.mark.timeout(180)
def test_nothing_of_a_batch_is_in_logs_or_messages(tmp_path: Path) -> None:
    settings = {
        "SPROUT_ENGINE": "tests.support.engine:indiscreet",
        "SPROUT_MODEL_NAME": "echo",
        "SPROUT_LOG_FORMAT": "json",
    }
    good, bad = tmp_path / f"{MARKER}.jsonl", tmp_path / "bad.jsonl"
    write_lines(good, [marked(number) for number in range(12)])
    # Refused for their names, which are the same, and for what their error cites.
    write_lines(bad, [marked(1), marked(1), marked(2, method=MARKER), marked(4, url=MARKER)])
    with temporary_home() as home, RunningStack(home, settings) as stack:
        with (
            overheard(stack.published.urls["broker_url"]) as heard,
            httpx.Client(base_url=stack.api_url, trust_env=False) as http,
        ):

            def ended(batch_id: str) -> bool:
                return http.get(f"/v1/batches/{batch_id}").json()["status"] in ("completed", "failed")

            ids = []
            for path in (good, bad):
                with path.open("rb") as file:
                    sent = http.post("/v1/files", data={"purpose": "batch"}, files={"file": (path.name, file)}).json()
                body = {
                    "input_file_id": sent["id"],
                    "endpoint": "/v1/chat/completions",
                    "completion_window": "24h",
                    "metadata": {"note": MARKER},
                }
                ids.append(http.post("/v1/batches", json=body).raise_for_status().json()["id"])
            # What is no JSON, and what is no batch, are refused in words that cite them.
            http.post("/v1/batches", json={"input_file_id": MARKER, "endpoint": MARKER, "completion_window": MARKER})
            http.get(f"/v1/batches/{MARKER}")
            eventually(lambda: all(map(ended, ids)), within_s=60)
            counts = http.get(f"/v1/batches/{ids[0]}").json()["request_counts"]
            # The user is told, in the batch's own files.
            errors = http.get(f"/v1/batches/{ids[0]}").json()["error_file_id"]
            assert MARKER in http.get(f"/v1/files/{errors}/content").text
            assert (counts["completed"], counts["failed"]) == (8, 4)
            shown = json.dumps(heard)
        assert ids[0] in shown, "the broker was not overheard"
        assert MARKER not in shown
        logs = {path.name: path.read_text(errors="replace") for path in (home / "logs").iterdir()}
    generator = next(text for name, text in logs.items() if "generator" in name)
    failed = [json.loads(text) for text in generator.splitlines() if "failed inside the engine" in text]
    assert len(failed) == 4
    assert all("RuntimeError" in one["exception"] and "ValueError" in one["exception"] for one in failed)
    assert {name for name, text in logs.items() if MARKER in text} == set()
