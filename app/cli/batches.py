"""`sprout batch list`, `show`, `results`, `release`, `pause`, `resume`, `cancel`, `retry`: batches that are there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

from app.cli.stack import running
from app.cli.tables import grams
from app.domain.batch import BatchStatus
from app.settings import load

SHOWN = 20


@click.command("list")
def list_batches() -> None:
    """Show the newest batches: their status, progress, and until when they wait."""
    with running(load()) as client:
        found = client.batches()[:SHOWN]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("batch", "status", "done", "ends by"):
        table.add_column(heading, no_wrap=True)
    for batch in found:
        counts = batch["request_counts"]
        done = f"{counts['completed'] + counts['failed']}/{counts['total']}"
        table.add_row(batch["id"], described(batch), done, _end(batch))
    Console().print(table if found else "There is no batch yet.")


@click.command()
@click.argument("batch_id")
@click.option("--json", "raw", is_flag=True, help="Print the API's answer as it is.")
def show(batch_id: str, raw: bool) -> None:
    """Show what a batch does, or why it waits and until when."""
    with running(load()) as client:
        found = client.batch(batch_id)
    if raw:
        click.echo(json.dumps(found, ensure_ascii=False, indent=2))
        return
    for line in lines(found):
        click.echo(line)


@click.command()
@click.argument("batch_id")
def release(batch_id: str) -> None:
    """Let a batch that waits for cleaner hours run at once."""
    with running(load()) as client:
        found = client.release(batch_id)
    click.echo(f"Batch {batch_id} no longer waits for cleaner hours. {found['sprout']['reason'] or ''}".rstrip())


@click.command()
@click.argument("batch_id")
def cancel(batch_id: str) -> None:
    """Stop a batch; what is answered is kept."""
    with running(load()) as client:
        found = client.cancel(batch_id)
    click.echo(f"Batch {batch_id}: {described(found)}.")


@click.command()
@click.argument("batch_id")
@click.option("--reason", help="Why, as others are told who look at it.")
def pause(batch_id: str, reason: str | None) -> None:
    """Run no more of a batch until it is resumed; its completion window goes on."""
    with running(load()) as client:
        found = client.pause(batch_id, reason)
    click.echo(f"Batch {batch_id}: {found['sprout']['reason']}")


@click.command()
@click.argument("batch_id")
def resume(batch_id: str) -> None:
    """Let a paused batch run on."""
    with running(load()) as client:
        found = client.resume(batch_id)
    click.echo(f"Batch {batch_id}: {described(found)}.")


@click.command()
@click.argument("batch_id")
def retry(batch_id: str) -> None:
    """Run the failed, expired or cancelled lines of an ended batch again, as a batch of their own."""
    with running(load()) as client:
        found = client.retry(batch_id)
    click.echo(f"Batch {found['id']}: {described(found)}. {found['sprout']['note']}")


@click.command()
@click.argument("batch_id")
@click.option("--after", default="0", help="The `sprout.cursor` of the last line that was read.")
@click.option("--follow", is_flag=True, help="Wait for further lines until the batch has ended.")
def results(batch_id: str, after: str, follow: bool) -> None:
    """Print the lines of output that have finished, as the output file will have them."""
    with running(load()) as client:
        for line in client.results(batch_id, after=after, follow=follow):
            click.echo(json.dumps(line, ensure_ascii=False))


def described(batch: Mapping[str, Any]) -> str:
    """The status of a batch, and for whom or until when it waits."""
    until, is_open = batch["sprout"]["waiting_until"], batch["status"] == BatchStatus.IN_PROGRESS
    if batch["sprout"].get("paused"):
        return "paused"
    if is_open and batch["sprout"].get("waits_for_worker"):
        return "waits for a worker"
    if until is None or not is_open:
        return str(batch["status"]).replace("_", " ")
    return f"waits until {datetime.fromisoformat(until):%a %H:%M} UTC"


def lines(batch: Mapping[str, Any]) -> Iterator[str]:
    """What there is to say of a batch, sentence by sentence."""
    plan, counts = batch["sprout"], batch["request_counts"]
    done = f"{counts['completed'] + counts['failed']} of {counts['total']} done"
    failed = f", {counts['failed']} of them failed" if counts["failed"] else ""
    yield f"{batch['id']}: {described(batch)}, {done}{failed}."
    if batch["status"] == BatchStatus.FAILED:
        faults = batch["errors"]["data"] if batch["errors"] else []
        yield from (fault["message"] for fault in faults[:SHOWN])
        if len(faults) > SHOWN:
            yield "And further lines: --json shows them."
        return
    yield f"Schedule {plan['schedule']}{_zones(plan['zones'])}; its window closes at {_moment(batch['expires_at'])}."
    if plan["reason"]:
        yield plan["reason"]
    if plan["footprint_g"] is not None:
        end = datetime.fromisoformat(plan["expected_end"])
        yield (
            f"Expected end: within the hour before {end:%Y-%m-%d %H:%M} UTC. Expected of what is left: "
            f"{grams(plan['footprint_g'])}; run at once: {grams(plan['at_once_g'])} "
            f"(attributional, {plan['intensity_basis']})."
        )


def _zones(zones: Sequence[str] | None) -> str:
    return f", in {' or '.join(zones)} only" if zones else ""


def _moment(seconds: int | None) -> str:
    return "not known yet" if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def _end(batch: Mapping[str, Any]) -> str:
    return "-" if batch["status"] == BatchStatus.FAILED else _moment(batch["expires_at"])
