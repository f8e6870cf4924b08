"""A batch of which one line in a hundred is bad, in twelve ways: every good line is answered, every bad one told why.

    python benchmarks/bad_lines.py [--requests 50000] [--json FILE]

`sprout up` on a fresh folder, everything embedded, with an engine that answers at once. Asserts that exactly the good
lines have answers, and that each bad one is in the error file with its cause, and among the batch's errors while that
still runs.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import control_plane
from stack import stack

from app.cli.client import Client

EVERY = 100
"""One line of so many is bad."""
POLL_S = 0.02


def line(name: str, **body: Any) -> dict[str, Any]:
    """A good line, but for what `body` makes of it."""
    messages = [{"role": "user", "content": f"What is the train of {name} called?"}]
    parameters = {"model": control_plane.MODEL, "messages": messages, "max_tokens": 128, **body}
    return {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": parameters}


KINDS: Mapping[str, Callable[[str], Any]] = {
    "invalid_json_line": lambda name: None,
    "invalid_line": lambda name: [name],
    "missing_required_parameter": lambda name: {"custom_id": None},
    "invalid_custom_id": lambda name: line(""),
    "duplicate_custom_id": lambda name: line("q-0"),
    "invalid_method": lambda name: {**line(name), "method": "GET"},
    "mismatched_url": lambda name: {**line(name), "url": "/v1/nothing"},
    "invalid_body": lambda name: {**line(name), "body": None},
    "stream_not_supported": lambda name: line(name, stream=True),
    "model_not_found": lambda name: line(name, model="nobody"),
    "invalid_messages": lambda name: line(name, messages=[]),
    "line_too_long": lambda name: line(name, user="x" * 1_000_000),
}
"""Twelve ways to be bad, by the code that tells of it."""
NAMELESS = {"invalid_json_line", "invalid_line", "missing_required_parameter", "invalid_custom_id", "line_too_long"}


def write_input(path: Path, requests: int, every: int, kinds: Sequence[str]) -> Mapping[int, str]:
    """`requests` lines, one of `every` bad, each way in turn; returns the code of each bad line by its number."""
    bad = {}
    with path.open("w", encoding="utf-8") as file:
        for number in range(requests):
            entry: Any = line(f"q-{number}")
            if number % every == every - 1:
                code = bad[number + 1] = kinds[number // every % len(kinds)]
                entry = KINDS[code](f"q-{number}")
            file.write((json.dumps(entry) if entry is not None else '{"custom_id": q') + "\n")
    return bad


def read(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        return [json.loads(text) for text in file]


def run(client: Client, folder: Path, requests: int) -> dict[str, Any]:
    source, answers, errors = (folder / name for name in ("in.jsonl", "out.jsonl", "errors.jsonl"))
    bad = write_input(source, requests, EVERY, list(KINDS))
    good = requests - len(bad)
    started = time.monotonic()
    batch = client.create(
        client.upload(source, source.name), endpoint="/v1/chat/completions", window="24h", metadata={}
    )
    state = client.batch(batch["id"])
    while state["status"] == "validating":
        time.sleep(POLL_S)
        state = client.batch(batch["id"])
    validated = time.monotonic()
    shown = state["errors"]["data"]
    assert state["status"] == "in_progress", state["status"]
    assert state["request_counts"]["total"] == requests
    assert state["request_counts"]["failed"] == len(bad)
    assert [(fault["line"], fault["code"]) for fault in shown] == list(bad.items())[:1000]
    *_, state = client.watch(batch["id"])
    ended = time.monotonic()
    assert state["status"] == "completed", state["status"]
    assert state["request_counts"] == {"total": requests, "completed": good, "failed": len(bad)}
    client.download(state["output_file_id"], answers)
    client.download(state["error_file_id"], errors)
    assert [each["custom_id"] for each in read(answers)] == [f"q-{n}" for n in range(requests) if n + 1 not in bad]
    check_errors(read(errors), bad)
    return {
        "requests": requests,
        "answers": good,
        "errors": len(bad),
        "errors_by_code": dict(Counter(bad.values())),
        "upload_and_validate_s": validated - started,
        "whole_s": ended - started,
    }


def check_errors(found: Sequence[Mapping[str, Any]], bad: Mapping[int, str]) -> None:
    """Each bad line with its own number, name and cause."""
    for each, (number, code) in zip(found, bad.items(), strict=True):
        cause = each["response"]["body"]["error"]
        name = None if code in NAMELESS else "q-0" if code == "duplicate_custom_id" else f"q-{number - 1}"
        assert (each["sprout"]["line"], each["custom_id"], cause["code"]) == (number, name, code), each
        assert (each["response"]["status_code"], each["error"]) == (400, None), each
        assert cause["message"].startswith(f"Line {number}: "), each
    assert len({each["id"] for each in found}) == len(bad)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=50_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sprout-bad-lines-") as name:
        folder = Path(name)
        with stack(folder, control_plane.SETTINGS) as (_, client):
            control_plane.run(client, folder, 1000)  # modules and the tokenizer are loaded
            found = run(client, folder, options.requests)
    print(f"{found['requests']} lines: {found['answers']} answers, {found['errors']} errors, each with its cause")
    print(", ".join(f"{code} {number}" for code, number in found["errors_by_code"].items()))
    print(f"upload and validation {found['upload_and_validate_s']:.1f} s, all of it {found['whole_s']:.1f} s")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
