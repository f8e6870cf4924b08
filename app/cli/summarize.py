"""`sprout summarize`: documents in, summaries out."""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from app.cli.batch import INTERRUPTED, submit
from app.cli.client import Client
from app.cli.stack import connect
from app.cli.tables import grams, show_reports
from app.composition import tokenizer_of
from app.domain.batch import RUN_KEY, BatchStatus
from app.domain.endpoints import CHAT
from app.domain.errors import ConfigurationError, InvalidInput
from app.domain.request import WORKLOAD_KEY
from app.ports import Tokenizer
from app.services.summarization import PART_TOKENS_MIN, WORKLOAD, Document, Summary, body, read_documents
from app.settings import Settings, load

OVERLAP_S = 5.0
"""Live results are asked for again with this overlap, because they may appear slightly out of order."""


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path), metavar="PATH...")
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Summaries.")
@click.option("--window", default="24h", show_default=True, help="Completion window of each round, 1h to 7d.")
@click.option(
    "--part-tokens",
    default=1200,
    show_default=True,
    type=click.IntRange(min=PART_TOKENS_MIN),
    help="Longest part that is summarized at once.",
)
def summarize(paths: tuple[Path, ...], output: Path, window: str, part_tokens: int) -> None:
    """Summarize text, Markdown and JSONL documents of any length.

    Writes one JSON object per document, in the order of the documents. Run again, it does only what is missing.
    """
    console = Console(stderr=True)
    settings = load()
    documents = read_documents(paths, leave_out=output)
    if not output.absolute().parent.is_dir():
        raise InvalidInput(f"The folder {output.parent} does not exist: create it first.")
    done = _already_done(output, documents)
    missing = [document for document in documents if document.name not in done]
    console.print(f"{len(documents)} documents, {len(missing)} to summarize.", highlight=False)
    if not missing:
        _write(output, documents, done)
        return
    tokenizer = _tokenizer(settings, part_tokens)
    with connect(settings, console) as client:
        pipeline = Pipeline(client, console, window, lambda entry: _keep(output, documents, done, entry))
        try:
            pipeline.run([Summary(document, limit=part_tokens, tokenizer=tokenizer) for document in missing])
        except KeyboardInterrupt:
            console.print("Interrupted: the same command goes on where it stopped.")
            sys.exit(INTERRUPTED)
        show_reports(console, [client.report(batch_id) for batch_id in pipeline.batch_ids])
        finished = sum(document.name in done for document in documents)
        ended = f"{finished} of {len(documents)} summaries in {output}"
        console.print(ended, highlight=False, markup=False, soft_wrap=True)
        for fault in pipeline.faults:
            console.print(f"  {fault}", highlight=False, markup=False, soft_wrap=True)
    if pipeline.faults:
        sys.exit(1)


def _tokenizer(settings: Settings, part_tokens: int) -> Tokenizer:
    tokenizer = tokenizer_of(settings)()
    if tokenizer is None:
        raise ConfigurationError(
            "Splitting documents needs the model's tokenizer: set SPROUT_MODEL to a local folder that holds it."
        )
    context = min(tokenizer.context_tokens, settings.max_context or tokenizer.context_tokens)
    if part_tokens * 2 > context:
        raise InvalidInput(
            f"Parts of {part_tokens} tokens are too long for a context of {context}: lower --part-tokens."
        )
    return tokenizer


Entry = Mapping[str, Any]


def _already_done(output: Path, documents: Sequence[Document]) -> dict[str, Entry]:
    """The entries of earlier runs, but for documents that have changed since."""
    if not output.exists():
        return {}
    digests = {document.name: document.digest for document in documents}
    found: dict[str, Entry] = {}
    for number, line in enumerate(output.read_bytes().split(b"\n"), 1):
        try:
            entry = json.loads(line) if line else None
            if entry and digests.get(entry["document"], entry["sha256"]) == entry["sha256"]:
                found[entry["document"]] = entry
        except (ValueError, KeyError, TypeError) as exc:
            raise InvalidInput(f"{output}, line {number} is not a summary: name another output file.") from exc
    return found


def _keep(output: Path, documents: Sequence[Document], done: dict[str, Entry], entries: Sequence[Entry]) -> None:
    done.update({entry["document"]: entry for entry in entries})
    _write(output, documents, done)


def _write(output: Path, documents: Sequence[Document], done: Mapping[str, Entry]) -> None:
    """The documents of this run in their order, then those of earlier runs on other documents."""
    unfinished = output.with_name(f".{output.name}.part")
    ordered = {document.name: done[document.name] for document in documents if document.name in done}
    lines = [json.dumps(entry, ensure_ascii=False) + "\n" for entry in {**ordered, **done}.values()]
    unfinished.write_text("".join(lines), encoding="utf-8")
    unfinished.replace(output)


class Pipeline:
    """Rounds of batches until every document has its summary; `keep` is given the new entries as they come."""

    def __init__(self, client: Client, console: Console, window: str, keep: Callable[[Sequence[Entry]], None]) -> None:
        self.batch_ids: list[str] = []
        self.faults: list[str] = []
        self._client = client
        self._console = console
        self._window = window
        self._keep = keep
        self._model = client.model()
        self._use: dict[str, list[Mapping[str, Any]]] = {}

    def run(self, summaries: Sequence[Summary]) -> None:
        while summaries:
            summaries = self._round(summaries)

    def _round(self, summaries: Sequence[Summary]) -> Sequence[Summary]:
        """Run one batch with the requests of all `summaries`; returns those that need another round."""
        lines = [
            {"custom_id": key, "method": "POST", "url": CHAT.path, "body": body(self._model, prompt)}
            for summary in summaries
            for key, prompt in summary.requests()
        ]
        batch_id = self._submit(lines)
        self.batch_ids.append(batch_id)
        waiting = list(summaries)
        answers: dict[str, Mapping[str, Any]] = {}
        since = 0.0
        further: list[Summary] = []
        for state in self._client.watch(batch_id):
            ended = BatchStatus(state["status"]).is_final
            since = self._collect(batch_id, answers, 0.0 if ended else since)
            ready = [s for s in waiting if all(key in answers for key, _ in s.requests())]
            waiting = [s for s in waiting if s not in ready]
            further += self._advance(ready, answers)
            if ended and state["errors"]:
                self.faults += [fault["message"] for fault in state["errors"]["data"]]
        self.faults += [f"{summary.document.name}: the batch {batch_id} ended without it." for summary in waiting]
        return further

    def _submit(self, lines: Sequence[Mapping[str, Any]]) -> str:
        content = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
        key = hashlib.sha256(content + self._window.encode()).hexdigest()
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "requests.jsonl"
            source.write_bytes(content)
            metadata = {WORKLOAD_KEY: WORKLOAD, RUN_KEY: key}
            batch_id = submit(self._client, source, "summaries.jsonl", window=self._window, metadata=metadata)
        self._console.print(f"Batch {batch_id}: {len(lines)} requests.", highlight=False)
        return batch_id

    def _collect(self, batch_id: str, answers: dict[str, Mapping[str, Any]], since: float) -> float:
        """Add what was answered since `since`; returns the time from which to ask next."""
        newest = max(since - OVERLAP_S, 0.0)
        while True:
            page = self._client.results_since(batch_id, newest)
            answers.update({result["custom_id"]: result for result in page})
            latest = max([newest, *(float(result["finished_at"]) for result in page)])
            if latest == newest:
                return newest
            newest = latest

    def _advance(self, ready: Sequence[Summary], answers: Mapping[str, Mapping[str, Any]]) -> Sequence[Summary]:
        """Take the answers; keep finished summaries, note failures, return those that need another round."""
        finished: list[Entry] = []
        further: list[Summary] = []
        for summary in ready:
            name = summary.document.name
            results = [answers[key] for key, _ in summary.requests()]
            self._use.setdefault(name, []).extend(result["sprout"] for result in results)
            failed = next((fault for fault in map(_fault, results) if fault), None)
            if failed:
                self.faults.append(f"{name}: {failed}")
                continue
            summary.advance([_text(result) for result in results])
            if summary.text is None:
                further.append(summary)
            else:
                finished.append(self._entry(summary))
        if finished:
            self._keep(finished)
        return further

    def _entry(self, summary: Summary) -> Entry:
        use = self._use[summary.document.name]
        entry: dict[str, Any] = {
            "document": summary.document.name,
            "sha256": summary.document.digest,
            "summary": summary.text,
            "parts": summary.parts,
            "levels": [part["level"] for part in use],
            "energy_j": sum(part["energy_j"] for part in use),
            "energy_basis": use[0]["energy_basis"],
            "footprint_g": sum(part["footprint_g"] for part in use),
        }
        heading = f"{summary.document.name} ({grams(entry['footprint_g'])}, {', '.join(entry['levels'])})"
        self._console.print(heading, style="bold", highlight=False, markup=False, soft_wrap=True)
        self._console.print(f"  {summary.text}", highlight=False, markup=False, soft_wrap=True)
        return entry


def _fault(result: Mapping[str, Any]) -> str | None:
    """Why a request has no answer; None if it has one."""
    if result["error"] is not None:
        return str(result["error"]["message"])
    if result["response"]["status_code"] != 200:
        return str(result["response"]["body"]["error"]["message"])
    return None


def _text(result: Mapping[str, Any]) -> str:
    return str(result["response"]["body"]["choices"][0]["message"]["content"] or "")
