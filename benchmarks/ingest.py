"""How fast input files get in: upload, validation and storing, against raw COPY of the same rows.

    python benchmarks/ingest.py [--lines 50000,1000000] [--pairs 3] [--json FILE]

Private servers, API, scheduler worker and beat run as `sprout up` runs them, without an engine. A run begins with the
first byte of the upload through the `openai` client and ends when the batch is seen `in_progress`: all requests stored,
shards cut and planned. Raw COPY writes the same rows, already serialised and in the format that Sprout uses, into a
table with the same keys, indexes and foreign key on the same server; `text` is the other format, for comparison. The
order alternates from pair to pair, and a small batch goes before all. Memory is the most that any process of the stack
was seen to hold for itself.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import socket
import statistics
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import psycopg
from stack import QUIET, Watch

from app.cli import commands
from app.embedded import tether
from app.embedded.postgres import EmbeddedPostgres
from app.embedded.valkey import EmbeddedValkey
from app.model import bundled
from app.ports import Queue
from app.settings import BUNDLED_MODEL, Settings
from app.store import migrate
from app.store.database import Database

COLUMNS = "batch_id, line, tenant_id, custom_id, workload, pinned_level, body"
TEXT = """
the of and a to in is you that it he was for on are as with his they at be this have from or one had by word but not
what all were we when your can said there use an each which she do how their if will up other about out many then them
these so some her would make like him into time has look two more write go see number no way could people my than first
water been call who oil its now find long down day did get come made may part over new sound
"""
WORDS = TEXT.split()
POLL_S = 0.02
BLOCK = 1 << 16


def bodies(lines: int) -> Iterator[str]:
    """Bodies of chat requests, all different, about 900 bytes each."""
    rng = random.Random(0)
    for number in range(lines):
        text = " ".join(rng.choices(WORDS, k=150))
        messages = [
            {"role": "system", "content": "Answer the question at the end of the text in two or three sentences."},
            {"role": "user", "content": f'Text {number}: {text}.\nWhat is this text about, and "why"?'},
        ]
        yield json.dumps({"model": BUNDLED_MODEL, "messages": messages, "max_tokens": 128, "temperature": 0.7})


def write_input(path: Path, lines: int) -> None:
    with path.open("w") as file:
        for number, body in enumerate(bodies(lines), 1):
            envelope = f'"custom_id": "request-{number:07}", "method": "POST", "url": "/v1/chat/completions"'
            file.write(f'{{{envelope}, "body": {body}}}\n')


def write_rows(folder: Path, lines: int, batch: str) -> Mapping[str, Path]:
    """The rows of that file as COPY reads them, in both of its formats."""
    paths = {"binary": folder / "rows.binary", "text": folder / "rows.text"}

    def field(value: bytes) -> bytes:
        return struct.pack("!i", len(value)) + value

    head, middle = struct.pack("!h", 7) + field(batch.encode()), field(b"default")
    with paths["binary"].open("wb") as binary, paths["text"].open("wb") as text:
        binary.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
        for number, body in enumerate(bodies(lines), 1):
            name, content = f"request-{number:07}", body.encode()
            line = struct.pack("!ii", 4, number)
            null = struct.pack("!i", -1)
            binary.write(head + line + middle + field(name.encode()) + middle + null + field(content))
            escaped = body.replace("\\", "\\\\")
            text.write(f"{batch}\t{number}\tdefault\t{name}\tdefault\t\\N\t{escaped}\n".encode())
        binary.write(struct.pack("!h", -1))
    return paths


class Site:
    """The stack without an engine."""

    def __init__(self, home: Path, stack: ExitStack) -> None:
        self.home = home
        postgres, valkey = EmbeddedPostgres(home), EmbeddedValkey(home)
        self._urls = {}
        for name, server in (("SPROUT_DATABASE_URL", postgres), ("SPROUT_BROKER_URL", valkey)):
            self._urls[name] = server.start()
            stack.callback(server.stop)
        database = Database(self._urls["SPROUT_DATABASE_URL"])
        migrate.upgrade(database)
        database.close()
        bundled.prepare(home / "models")
        self.url = f"http://127.0.0.1:{self._start(stack)}"
        self._wait_for_api()
        self.client = openai.OpenAI(base_url=f"{self.url}/v1", api_key="unused", max_retries=0, timeout=1800)
        self.connection = psycopg.connect(self._urls["SPROUT_DATABASE_URL"].replace("+psycopg", ""), autocommit=True)
        stack.callback(self.connection.close)
        self.connection.execute("CREATE TABLE raw_requests (LIKE requests INCLUDING ALL)")
        self.connection.execute(
            "ALTER TABLE raw_requests ADD FOREIGN KEY (batch_id) REFERENCES batches ON DELETE CASCADE"
        )

    def _start(self, stack: ExitStack) -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        own = {name: value for name, value in os.environ.items() if not name.startswith("SPROUT_")}
        limits = {name: QUIET[name] for name in ("SPROUT_MAX_FILE_BYTES", "SPROUT_MAX_REQUESTS")}
        own |= {**self._urls, **limits, "SPROUT_HOME": str(self.home)}
        settings = Settings(home=self.home, api_port=port)
        for name, command in (
            ("api", commands.api(settings)),
            ("scheduler", commands.worker(settings, [Queue.SCHEDULE], "scheduler")),
            ("beat", commands.beat(settings)),
        ):
            log = stack.enter_context((self.home / f"{name}.log").open("wb"))
            process = tether.start(
                command, signal_on_parent_death=signal.SIGKILL, env=own, stdout=log, stderr=subprocess.STDOUT
            )
            stack.callback(tether.stop, process, signal.SIGTERM, timeout_s=20.0)
        return port

    def _wait_for_api(self) -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                httpx.get(f"{self.url}/healthz", trust_env=False).raise_for_status()
                return
            except httpx.HTTPError:
                time.sleep(POLL_S)
        raise SystemExit(f"The API does not answer: see {self.home}/api.log.")

    def clear(self) -> None:
        """Every run finds empty tables and a server that has written everything out."""
        # With all that refers to batches: their requests, and what came of those.
        for statement in ("TRUNCATE raw_requests, batches, files CASCADE", "CHECKPOINT"):
            self.connection.execute(statement)
        for path in (self.home / "files").iterdir():
            path.unlink()
        os.sync()

    def warm_up(self) -> None:
        """The scheduler worker loads its tokenizer with its first batch."""
        path = self.home / "first.jsonl"
        write_input(path, 10)
        self.ingest(path, 10)

    def ingest(self, path: Path, lines: int) -> dict[str, float]:
        start = time.perf_counter()
        with path.open("rb") as file:
            uploaded = self.client.files.create(file=file, purpose="batch")
        upload_s = time.perf_counter() - start
        batch = self.client.batches.create(
            input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        while batch.status == "validating":
            time.sleep(POLL_S)
            batch = self.client.batches.retrieve(batch.id)
        total_s = time.perf_counter() - start
        stored = self.connection.execute("SELECT count(*), sum(requests) FROM shards").fetchone()
        if batch.status != "in_progress" or stored is None or stored[1] != lines:
            raise SystemExit(f"The batch is {batch.status} ({batch.errors}); shards and their requests: {stored}.")
        return {"s": total_s, "upload_s": upload_s, "validate_s": total_s - upload_s}

    def raw_copy(self, path: Path, batch: str, form: str) -> dict[str, float]:
        self.connection.execute(
            "INSERT INTO files VALUES ('raw', 'default', 'batch', 'raw', 1, now()) ON CONFLICT DO NOTHING"
        )
        self.connection.execute(
            "INSERT INTO batches (id, tenant_id, endpoint, input_file_id, completion_window, status, created_at,"
            " expires_at) VALUES (%s, 'default', 'raw', 'raw', '24h', 'failed', now(), now())",
            (batch,),
        )
        start = time.perf_counter()
        statement = f"COPY raw_requests ({COLUMNS}) FROM STDIN (FORMAT {form})"
        with self.connection.cursor() as cursor, cursor.copy(statement) as copy, path.open("rb") as file:
            while block := file.read(BLOCK):
                copy.write(block)
        return {"s": time.perf_counter() - start}


@contextmanager
def started() -> Iterator[Site]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, ExitStack() as stack:
        yield Site(Path(folder) / "home", stack)


def measure(site: Site, folder: Path, lines: int, pairs: int) -> dict[str, Any]:
    batch = "batch_" + "0" * 24
    source = folder / "in.jsonl"
    write_input(source, lines)
    rows = write_rows(folder, lines, batch)
    runs: dict[str, list[dict[str, float]]] = {"ingest": [], "binary": [], "text": []}
    with Watch(psutil.Process()) as seen:
        for pair in range(pairs):
            order = list(runs)
            for kind in order if pair % 2 == 0 else reversed(order):
                site.clear()
                runs[kind].append(
                    site.ingest(source, lines) if kind == "ingest" else site.raw_copy(rows[kind], batch, kind)
                )
                figures = ", ".join(f"{name} {value:.2f}" for name, value in runs[kind][-1].items())
                print(f"  {lines} lines, {kind}: {figures}", flush=True)
    site.clear()
    result = summary(runs, lines) | {"file_bytes": source.stat().st_size, "peak_mib": seen.peak_mib, "runs": runs}
    for path in (source, *rows.values()):
        path.unlink()
    return result


def summary(runs: Mapping[str, Sequence[Mapping[str, float]]], lines: int) -> dict[str, Any]:
    rates = {kind: sorted(lines / run["s"] for run in found) for kind, found in runs.items()}
    medians = {kind: statistics.median(found) for kind, found in rates.items()}
    phases = {name: statistics.median(run[name] for run in runs["ingest"]) for name in ("upload_s", "validate_s")}
    return {
        "ratio_rows_per_s": medians["ingest"] / medians["binary"],
        "ratio_to_text_copy": medians["ingest"] / medians["text"],
        "rows_per_s": medians,
        "spread_rows_per_s": {kind: (found[0], found[-1]) for kind, found in rates.items()},
        **phases,
    }


def show(lines: int, found: Mapping[str, Any]) -> None:
    print(f"{lines} lines, {found['file_bytes'] / lines:.0f} bytes each")
    for kind, rate in found["rows_per_s"].items():
        low, high = found["spread_rows_per_s"][kind]
        print(f"  {kind:<7} {rate:8.0f} rows/s (from {low:.0f} to {high:.0f})")
    print(f"  ratio {found['ratio_rows_per_s']:.3f}; to COPY in text form {found['ratio_to_text_copy']:.3f}")
    print(f"  upload {found['upload_s']:.2f} s, validate, store, cut and plan {found['validate_s']:.2f} s")
    print("  most memory: " + ", ".join(f"{name} {mib:.0f} MiB" for name, mib in found["peak_mib"].items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", default="50000,1000000")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    sizes = sorted(int(size) for size in options.lines.split(","))
    found = {}
    with started() as site:
        site.warm_up()
        for lines in sizes:
            found[lines] = measure(site, site.home, lines, options.pairs)
            show(lines, found[lines])
    if options.json:
        largest = found[sizes[-1]]
        content = {"ratio_rows_per_s": largest["ratio_rows_per_s"], "pairs": options.pairs, "sizes": found}
        options.json.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
