"""`sprout webhooks`: URLs that are told when batches end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.cli.stack import running
from app.domain.webhook import BATCH_EVENTS
from app.settings import load


@click.group()
def webhooks() -> None:
    """URLs that are told when batches end, signed as Standard Webhooks."""


@webhooks.command()
@click.argument("url")
@click.option("--event", "events", multiple=True, type=click.Choice(BATCH_EVENTS), help="By default all; may repeat.")
@click.option("--name", default="", help="What you call it.")
def add(url: str, events: tuple[str, ...], name: str) -> None:
    """Have URL told, and print the secret by which it knows our calls."""
    with running(load()) as client:
        found = client.add_webhook(url, events or BATCH_EVENTS, name)
    _show_secret(found)


@webhooks.command("list")
@click.option("--json", "raw", is_flag=True, help="Print the API's answer as it is.")
def list_webhooks(raw: bool) -> None:
    """Show all webhooks and how they fare."""
    with running(load()) as client:
        found = client.webhooks()
    if raw:
        click.echo(json.dumps(found, ensure_ascii=False, indent=2))
        return
    for each in found:
        Console().print(_described(each))
    if not found:
        click.echo("There is no webhook yet: `sprout webhooks add URL`.")


@webhooks.command()
@click.argument("webhook_id")
def remove(webhook_id: str) -> None:
    """Tell a webhook nothing any more."""
    with running(load()) as client:
        client.remove_webhook(webhook_id)
    click.echo(f"{webhook_id} is removed.")


@webhooks.command()
@click.argument("webhook_id")
def rotate(webhook_id: str) -> None:
    """Sign by a new secret from now on, and print it."""
    with running(load()) as client:
        found = client.rotate_webhook(webhook_id)
    _show_secret(found)


def _show_secret(found: Mapping[str, Any]) -> None:
    click.echo(f"{found['id']} is told of {', '.join(found['event_types'])}.")
    click.echo(f"Its secret, shown only now: {found['signing_secret']}")


def _described(found: Mapping[str, Any]) -> Table:
    health = found["sprout"]
    failure = f"{_moment(health['last_failure_at'])}: {health['last_failure']}" if health["last_failure_at"] else "none"
    state = f"told nothing since {_moment(health['disabled_at'])}: it answered 410" if health["disabled_at"] else "told"
    table = Table(box=box.SIMPLE, show_header=False, padding=(0, 1, 0, 0))
    for title, text in (
        (found["id"], found["name"]),
        ("url", found["url"]),
        ("events", ", ".join(found["event_types"])),
        ("state", f"{state}, {health['waiting']} waiting, {health['given_up']} given up"),
        ("last success", _moment(health["last_success_at"]) if health["last_success_at"] else "none"),
        ("last failure", failure),
    ):
        table.add_row(Text(title), Text(text, overflow="fold"))
    return table


def _moment(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
