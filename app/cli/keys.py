"""`sprout keys`: API keys of tenants."""

from __future__ import annotations

from datetime import datetime, timedelta

import click
from rich import box
from rich.console import Console
from rich.table import Table

from app.cli.operating import operator
from app.domain.tenant import USUAL, Scope
from app.services import keys as service
from app.services.keys import OVERLAP, NewKey
from app.store.api_keys import ApiKey


@click.group()
def keys() -> None:
    """API keys. Only their hashes are stored: a key is shown once, when it is made."""


def _days(context: click.Context, parameter: click.Parameter, value: float | None) -> timedelta | None:
    return None if value is None else timedelta(days=value)


@keys.command()
@click.argument("tenant")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice([str(scope) for scope in Scope]),
    default=[str(scope) for scope in USUAL],
    show_default=True,
    help="What it may do; may be given several times.",
)
@click.option(
    "--days", "lifetime", type=click.FloatRange(0, 36_500, min_open=True), callback=_days, help="Let it expire then."
)
def create(tenant: str, scopes: tuple[str, ...], lifetime: timedelta | None) -> None:
    """Make a key for a tenant and print it."""
    with operator() as (database, clock):
        _print(service.create(database, clock, tenant, scopes=scopes, lifetime=lifetime))


def _print(made: NewKey) -> None:
    """The key on standard output, for scripts; what is to be said of it beside."""
    until = f"until {made.key.expires_at:%Y-%m-%d %H:%M} UTC" if made.key.expires_at else "until it is revoked"
    click.echo(
        f"Key {made.key.prefix} of tenant {made.key.tenant_id}, for {', '.join(made.key.scopes)}, {until}. It is shown "
        "this once:",
        err=True,
    )
    click.echo(made.secret)


@keys.command("list")
@click.argument("tenant", required=False)
def list_keys(tenant: str | None) -> None:
    """Show the keys, of one tenant or of all."""
    with operator() as (database, clock):
        found, now = service.listed(database, tenant), clock.now()
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("tenant", "key", "scopes", "made", "ends", "last used"):
        table.add_column(heading, overflow="fold")
    for each in found:
        cells = each.tenant_id, each.prefix, ",\n".join(each.scopes)
        table.add_row(*cells, _moment(each.created_at), _end(each, now), _moment(each.last_used_at))
    Console().print(table)


def _moment(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if moment else "never"


def _end(key: ApiKey, now: datetime) -> str:
    if key.revoked_at:
        return f"revoked {_moment(key.revoked_at)}"
    return f"{'expired ' if key.expires_at and key.expires_at <= now else ''}{_moment(key.expires_at)}"


@keys.command()
@click.argument("prefix")
@click.option(
    "--overlap-hours",
    type=click.FloatRange(0, 8760),
    default=OVERLAP / timedelta(hours=1),
    show_default=True,
    help="For which the old key goes on, so that clients can be changed one by one.",
)
def rotate(prefix: str, overlap_hours: float) -> None:
    """Make a key with the rights of another one, which ends a while later, and print it."""
    with operator() as (database, clock):
        _print(service.rotate(database, clock, prefix, overlap=timedelta(hours=overlap_hours)))


@keys.command()
@click.argument("prefix")
def revoke(prefix: str) -> None:
    """End a key, within seconds."""
    with operator() as (database, clock):
        service.revoke(database, clock, prefix)
    click.echo(f"Key {prefix} is revoked.")
