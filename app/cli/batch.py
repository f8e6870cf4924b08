"""`sprout batch`: batches from the command line."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from app.cli.batches import cancel, described, list_batches, release, show
from app.cli.client import Client
from app.cli.quote import quote
from app.cli.source import endpoint_of
from app.cli.stack import connect
from app.cli.tables import show_reports
from app.domain.batch import RUN_KEY, SCHEDULE_KEY, ZONES_KEY, BatchStatus, Schedule
from app.domain.errors import InvalidInput
from app.domain.request import LEVEL_KEY, WORKLOAD_KEY
from app.settings import load

INTERRUPTED = 130
SHOWN_FAULTS = 100
"""Rejected lines that are printed."""

CONTROLS = {"workload": WORKLOAD_KEY, "level": LEVEL_KEY, "schedule": SCHEDULE_KEY, "zones": ZONES_KEY}
"""The metadata by which each option reaches the batch."""


@click.group()
def batch() -> None:
    """Run batches of requests."""


@batch.command()
@click.argument("source", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="INPUT.jsonl")
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Answers.")
@click.option("--window", default="24h", show_default=True, help="Completion window, 1h to 7d.")
@click.option("--workload", help="Workload of every line that does not name its own.")
@click.option("--level", help="Pin a level (L0, L1, L2) for every line that does not pin its own.")
@click.option(
    "--schedule",
    type=click.Choice([schedule.value for schedule in Schedule]),
    help="When it runs in its window; by default asap.",
)
@click.option("--zones", help="Zones it may run in, such as GB,FR, or `any`; by default the first of SPROUT_ZONES.")
@click.option("--force", is_flag=True, help="Replace an existing output file.")
def run(source: Path, output: Path, window: str, force: bool, **controls: str | None) -> None:
    """Run INPUT.jsonl and write the answers to the output file.

    Requests that fail go to a file beside it, *.errors.jsonl. Interrupted, the same command goes on with the same
    batch. With `--schedule carbon` it waits for the cleanest hours that its window allows.
    """
    console = Console(stderr=True)
    errors = output.with_suffix(".errors.jsonl")
    _check_target(source, output, errors, force)
    stated = {CONTROLS[name]: value for name, value in controls.items() if value is not None}
    with connect(load(), console) as client:
        metadata = {**stated, RUN_KEY: _key(source, output, window, stated)}
        ended_id = None if force else completed(client, metadata[RUN_KEY])
        batch_id = ended_id or submit(client, source, source.name, window=window, metadata=metadata)
        meanwhile = " has ended meanwhile; --force runs it anew" if ended_id else ""
        console.print(f"Batch {batch_id}{meanwhile}", highlight=False)
        try:
            ended = follow(client, batch_id, console)
        except KeyboardInterrupt:
            console.print(f"Batch {batch_id} is kept: the same command goes on with it.")
            sys.exit(INTERRUPTED)
        show_faults(console, ended, source)
        if BatchStatus(ended["status"]) is BatchStatus.FAILED:
            sys.exit(1)
        for file_id, target in ((ended["output_file_id"], output), (ended["error_file_id"], errors)):
            if file_id:
                client.download(file_id, target)
            else:
                target.unlink(missing_ok=True)
        show_reports(console, [client.report(batch_id)])
        _conclude(console, ended, output, errors)


def _check_target(source: Path, output: Path, errors: Path, force: bool) -> None:
    if source.resolve() in (output.resolve(), errors.resolve()):
        raise InvalidInput(f"Answers and errors would replace {source} itself: name another output file.")
    if output.exists() and not force:
        raise InvalidInput(f"{output} exists: name another output file, or add --force to replace it.")
    if not output.parent.is_dir():
        raise InvalidInput(f"The folder {output.parent} does not exist: create it first.")


def _key(source: Path, output: Path, window: str, controls: Mapping[str, str]) -> str:
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    digest.update(repr((str(output.resolve()), window, sorted(controls.items()))).encode())
    return digest.hexdigest()


def submit(client: Client, source: Path, name: str, *, window: str, metadata: Mapping[str, str]) -> str:
    """The id of a new batch, or of an unfinished one that the same command started before."""
    for known in client.batches():
        ended = BatchStatus(known["status"]).is_final or known["status"] == BatchStatus.CANCELLING
        if not ended and (known["metadata"] or {}).get(RUN_KEY) == metadata[RUN_KEY]:
            return str(known["id"])
    file_id = client.upload(source, name)
    return str(client.create(file_id, endpoint=endpoint_of(source), window=window, metadata=metadata)["id"])


def completed(client: Client, key: str) -> str | None:
    """The newest batch of an interrupted command, if it has completed since and has answers."""
    own = (known for known in client.batches() if (known["metadata"] or {}).get(RUN_KEY) == key)
    newest = next(own, None)
    has_answers = newest and newest["status"] == BatchStatus.COMPLETED and newest["output_file_id"]
    return str(newest["id"]) if newest and has_answers else None


def follow(client: Client, batch_id: str, console: Console) -> Mapping[str, Any]:
    """Show progress until the batch has ended; returns its last state."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failed]}"),
        TimeElapsedColumn(),
    )
    state: Mapping[str, Any] = {}
    said = None
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("validating", total=None, failed="")
        for state in client.watch(batch_id):
            counts, plan = state["request_counts"], state["sprout"]
            reason = plan["reason"]
            is_telling = plan["schedule"] == Schedule.CARBON or plan.get("waits_for_worker")
            if is_telling and reason not in (None, said):
                said = reason
                console.print(reason, highlight=False, markup=False, soft_wrap=True)
            progress.update(
                bar,
                description=described(state),
                total=counts["total"] or None,
                completed=counts["completed"] + counts["failed"],
                failed=f"{counts['failed']} failed" if counts["failed"] else "",
            )
    return state


def show_faults(console: Console, ended: Mapping[str, Any], source: Path) -> None:
    """Why a batch or some of its lines were refused, if any were."""
    if not ended["errors"]:
        return
    faults = ended["errors"]["data"]
    whole = ended["status"] == BatchStatus.FAILED
    said = [f"{source} was refused; nothing was run." if whole else f"Lines of {source} were rejected; the others ran."]
    said += [f"  {fault['message']}" for fault in faults[:SHOWN_FAULTS]]
    if len(faults) > SHOWN_FAULTS:
        said.append("  and further lines." if whole else "  and further lines: the errors file has all of them.")
    for text in said:
        console.print(text, highlight=False, markup=False, soft_wrap=True)


def _conclude(console: Console, ended: Mapping[str, Any], output: Path, errors: Path) -> None:
    counts = ended["request_counts"]
    if ended["output_file_id"]:
        console.print(f"{counts['completed']} answers in {output}", highlight=False, markup=False, soft_wrap=True)
    if ended["error_file_id"]:
        console.print(f"{counts['failed']} errors in {errors}", highlight=False, markup=False, soft_wrap=True)
    if ended["status"] != BatchStatus.COMPLETED:
        console.print(f"The batch {ended['status']}.", highlight=False)
    if ended["status"] != BatchStatus.COMPLETED or counts["failed"]:
        sys.exit(1)


for command in (quote, list_batches, show, release, cancel):
    batch.add_command(command)
