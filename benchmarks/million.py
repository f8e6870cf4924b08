"""A batch of a million lines: accepted, listed, paged and streamed, and another of which every second line is bad.

    python benchmarks/million.py [--requests 1000000] [--json FILE]

`sprout up` on a fresh folder, everything embedded, with an engine that answers at once. The first batch is uploaded,
run, found in the lists of batches and files page by page, and its output file downloaded, every line in its place. The
second one is cancelled once it is validated: its error file has every bad line with its cause. Asserts that the API's
process stays below 400 MB of its own (unique set size), and prints the most that each process held.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import bad_lines
import control_plane
import httpx
from stack import MIB, Watch, stack

from app.cli.client import Client
from app.embedded.home import Home

MOST_BYTES = 400 * 10**6
"""Of the API's process."""
OTHERS = 5
"""Small batches around the large one."""


def pages(http: httpx.Client, path: str, limit: int) -> Iterator[Mapping[str, Any]]:
    """Everything that a list holds, a page at a time."""
    after: Mapping[str, str] = {}
    while True:
        response = http.get(path, params={"limit": limit, **after})
        response.raise_for_status()
        page = response.json()
        yield from page["data"]
        if not page["has_more"]:
            return
        after = {"after": page["last_id"]}


def listed(http: httpx.Client, requests: int) -> None:
    """The large batch and its files are found among the small ones, each once."""
    found = list(pages(http, "/v1/batches", 2))
    assert len({batch["id"] for batch in found}) == len(found) == OTHERS + 1
    (large,) = [batch for batch in found if batch["request_counts"]["total"] == requests]
    assert large["request_counts"]["completed"] == requests
    files = {file["id"]: file["bytes"] for file in pages(http, "/v1/files", 3)}
    assert len(files) == 2 * (OTHERS + 1)
    assert files[large["output_file_id"]] > files[large["input_file_id"]] > 0


def half_bad(client: Client, folder: Path, requests: int) -> dict[str, float]:
    """Seconds from upload to validation and from cancelling to the end of a batch with every second line bad."""
    source, target = folder / "bad.jsonl", folder / "errors.jsonl"
    # Those that are too long would make a file of several hundred gigabytes.
    kinds = [code for code in bad_lines.KINDS if code != "line_too_long"]
    bad = bad_lines.write_input(source, requests, 2, kinds)
    started = time.monotonic()
    batch = client.create(
        client.upload(source, source.name), endpoint="/v1/chat/completions", window="24h", metadata={}
    )
    state = client.batch(batch["id"])
    while state["status"] == "validating":
        time.sleep(control_plane.POLL_S)
        state = client.batch(batch["id"])
    validated = time.monotonic()
    assert state["request_counts"]["total"] == requests
    assert state["request_counts"]["failed"] >= len(bad)
    assert [(fault["line"], fault["code"]) for fault in state["errors"]["data"]] == list(bad.items())[:1000]
    client.cancel(batch["id"])
    *_, state = client.watch(batch["id"])
    ended = time.monotonic()
    client.download(state["error_file_id"], target)
    with target.open(encoding="utf-8") as file:
        rejected = (each for each in map(json.loads, file) if each["response"])
        codes = {each["sprout"]["line"]: each["response"]["body"]["error"]["code"] for each in rejected}
    assert codes == bad
    counts = state["request_counts"]
    assert counts["completed"] + counts["failed"] == counts["total"] == requests
    return {"validate": validated - started, "cancel": ended - validated}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found: dict[str, Any] = {"requests": options.requests}
    with tempfile.TemporaryDirectory(prefix="sprout-million-") as name:
        folder = Path(name)
        with stack(folder, control_plane.SETTINGS) as (process, client):
            for _ in range(OTHERS):  # and modules and the tokenizer are loaded
                control_plane.run(client, folder, 10)
            home = Home(folder).read_stack()
            assert home is not None
            http = httpx.Client(base_url=home.urls["api_url"], trust_env=False, timeout=300.0)
            with Watch(process) as seen, http:
                found["good"] = control_plane.run(client, folder, options.requests)
                listed(http, options.requests)
                for path in folder.glob("*.jsonl"):
                    path.unlink()
                found["half_bad"] = half_bad(client, folder, options.requests)
    found["peak_mib"] = seen.peak_mib
    for kind in ("good", "half_bad"):
        print(f"{kind}, s: " + ", ".join(f"{phase} {seconds:.1f}" for phase, seconds in found[kind].items()))
    names = sorted(seen.peak_mib, key=seen.peak_mib.__getitem__, reverse=True)
    print("most memory (unique, MiB): " + ", ".join(f"{part} {seen.peak_mib[part]:.0f}" for part in names))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    assert seen.peak_mib["api"] * MIB < MOST_BYTES


if __name__ == "__main__":
    main()
